//! One attempt to refresh, under the lease, and what its outcome means (protocols, section 7).

use std::{sync::PoisonError, time::Duration};

use tokio::time::Instant;

use super::{
    CredentialError,
    refresh::{LEASE, Outcome, PAUSE, Parent, Refresher, unavailable},
    seal_tokens,
};
use crate::{
    egress::HttpClient,
    identity::{RenewError, Renewed},
    model::{AttemptId, Profile, user::IDENTITY_CREDENTIAL},
    store::Lease,
};

impl Refresher {
    /// Sends the refresh, once more when its outcome is not known, and settles what came of it.
    pub(super) async fn attempt(
        &self,
        parent: &Parent,
        attempt: &AttemptId,
        known: &Profile,
        taken_over: bool,
    ) -> Outcome {
        let mut answer = self.provider.refresh(&parent.tokens, known).await;
        if let Err(RenewError::Unknown(why)) = &answer {
            tracing::warn!(user = %parent.user, why, "a refresh has no known outcome; it is tried once more");
            answer = self.provider.refresh(&parent.tokens, known).await;
        }
        let error = match answer {
            Ok(renewed) => return self.keep(parent, renewed).await,
            Err(error) => error,
        };
        tracing::warn!(user = %parent.user, %error, taken_over, "the upstream token was not refreshed");
        match error {
            RenewError::Refused(_) if taken_over => self.suspect(parent, attempt).await,
            RenewError::Refused(_) => {
                let outcome = self.refused(parent, "refresh_refused").await;
                self.release(&parent.user, attempt).await;
                outcome
            }
            // The lease is left to run out: whoever takes it over then knows that the outcome is open.
            RenewError::Unknown(why) => {
                Err(self.pause(&parent.user, unavailable(&why, LEASE), HttpClient::TIMEOUT))
            }
            RenewError::RateLimited(wait) => {
                self.release(&parent.user, attempt).await;
                Err(self.pause(&parent.user, unavailable("the provider limits the rate", wait), wait))
            }
            RenewError::Transient(why) => {
                self.release(&parent.user, attempt).await;
                Err(self.pause(&parent.user, unavailable(&why, PAUSE), PAUSE))
            }
            RenewError::Misconfigured(why) => {
                self.release(&parent.user, attempt).await;
                Err(self.pause(&parent.user, CredentialError::Misconfigured(why), PAUSE))
            }
        }
    }

    /// Stores new tokens: the first thing done with them, and repeated until the store acknowledges.
    async fn keep(&self, parent: &Parent, renewed: Renewed) -> Outcome {
        let place = (self.identity.as_str(), &parent.user, IDENTITY_CREDENTIAL);
        let sealed = seal_tokens(&self.keys, self.entropy.as_ref(), place, &renewed.tokens);
        let mut nap = Duration::from_millis(20);
        let stored = loop {
            match self
                .store
                .store_credential(&parent.user, IDENTITY_CREDENTIAL, parent.version, &sealed)
                .await
            {
                Ok(stored) => break stored,
                Err(error) => {
                    tracing::error!(user = %parent.user, %error, "refreshed tokens wait for the store");
                    tokio::time::sleep(nap).await;
                    nap = (nap * 2).min(Duration::from_secs(1));
                }
            }
        };
        self.paused.lock().unwrap_or_else(PoisonError::into_inner).remove(&parent.user);
        if !stored {
            // A sign-in or another attempt was faster: what is stored counts. Ours may be what an earlier, unanswered
            // write of this very loop stored.
            return match self.store.credential(&parent.user, IDENTITY_CREDENTIAL).await? {
                Some(record) => self.open(&parent.user, &record).await,
                None => Err(self.expired()),
            };
        }
        if let Some(profile) = &renewed.profile {
            // The tokens are safe; a profile that is not stored now is at the next check.
            let _ = self.date(&parent.user, profile).await;
        }
        Ok(renewed.tokens)
    }

    /// The provider refuses for good, and no earlier attempt is open.
    pub(super) async fn refused(&self, parent: &Parent, reason: &'static str) -> Outcome {
        if self.refuse(&parent.user, parent.version, reason).await? {
            return Err(self.expired());
        }
        match self.store.credential(&parent.user, IDENTITY_CREDENTIAL).await? {
            Some(record) if record.version != parent.version => self.open(&parent.user, &record).await,
            _ => Err(self.expired()),
        }
    }

    /// Refused after a take-over: the attempt before may have succeeded and be storing still. Its late success wins.
    async fn suspect(&self, parent: &Parent, attempt: &AttemptId) -> Outcome {
        let end = Instant::now() + self.suspect;
        while Instant::now() < end && !self.tasks.is_closed() {
            tokio::time::sleep(self.suspect / 60).await;
            // Keeps the lease, and sees whether the credential has moved on.
            let lease = self
                .store
                .lease_refresh(&parent.user, IDENTITY_CREDENTIAL, parent.version, attempt, LEASE)
                .await;
            if let Ok(Lease::Moved(record)) = lease {
                return self.open(&parent.user, &record).await;
            }
        }
        if self.tasks.is_closed() {
            return Err(unavailable("the gateway is stopping", PAUSE));
        }
        self.refused(parent, "refresh_refused").await
    }
}
