//! Upstream credentials: version, value, and the attempt to refresh it.

use std::time::Duration;

use super::{
    super::{Event, Lease, keys::CREDENTIAL_LIFE},
    State,
};
use crate::{
    keys::Sealed,
    model::{AttemptId, CredentialRecord, UserId},
};

/// A credential; the attempt ends at a time of the clock's monotonic time.
#[derive(Debug)]
pub(super) struct Credential {
    version: u64,
    sealed: Sealed,
    attempt: Option<(AttemptId, Duration)>,
}

impl Credential {
    fn record(&self, now: Duration) -> CredentialRecord {
        let attempt = self.attempt.filter(|(_, until)| *until > now).map(|(id, _)| id);
        CredentialRecord { version: self.version, sealed: self.sealed.clone(), attempt }
    }
}

/// The key of a credential.
fn key(user: &UserId, name: &str) -> (UserId, String) {
    (*user, name.to_owned())
}

impl State {
    /// Reads a credential, which renews its life.
    pub(super) fn credential(&mut self, user: &UserId, name: &str) -> Option<CredentialRecord> {
        let (key, now) = (key(user, name), self.now);
        self.credentials.renew(&key, now, CREDENTIAL_LIFE);
        self.credentials.get(&key, now).map(|credential| credential.record(now))
    }

    /// Writes what a sign-in gave; `None` removes what older ones gave.
    pub(super) fn replace_credential(&mut self, user: &UserId, name: &str, sealed: Option<&Sealed>) {
        let key = key(user, name);
        let Some(sealed) = sealed else {
            self.credentials.take(&key, self.now);
            return;
        };
        // Never a version that was used before, so that a late answer to an older refresh finds no parent.
        self.versions += 1;
        let credential = Credential { version: self.versions, sealed: sealed.clone(), attempt: None };
        self.credentials.put(key, credential, self.now + CREDENTIAL_LIFE);
    }

    pub(super) fn lease_refresh(
        &mut self,
        user: &UserId,
        name: &str,
        version: u64,
        attempt: &AttemptId,
        lease: Duration,
    ) -> Lease {
        let now = self.now;
        let Some(credential) = self.credentials.get_mut(&key(user, name), now) else {
            return Lease::Absent;
        };
        if credential.version != version {
            return Lease::Moved(Box::new(credential.record(now)));
        }
        let before = credential.attempt.filter(|(id, _)| id != attempt);
        if let Some((_, until)) = before.filter(|(_, until)| *until > now) {
            return Lease::Busy(until.saturating_sub(now));
        }
        credential.attempt = Some((*attempt, now + lease));
        // A lease that was given back is gone; one that ran out is still here.
        if before.is_some() { Lease::TakenOver } else { Lease::Won }
    }

    pub(super) fn store_credential(
        &mut self,
        user: &UserId,
        name: &str,
        version: u64,
        sealed: &Sealed,
    ) -> bool {
        let current = self.credentials.get(&key(user, name), self.now).map(|c| c.version);
        if current != Some(version) {
            return false;
        }
        self.replace_credential(user, name, Some(sealed));
        self.events.push(Event::User(*user));
        true
    }

    pub(super) fn release_refresh(&mut self, user: &UserId, name: &str, attempt: &AttemptId) {
        let Some(credential) = self.credentials.get_mut(&key(user, name), self.now) else { return };
        if credential.attempt.is_some_and(|(id, _)| id == *attempt) {
            credential.attempt = None;
        }
    }
}
