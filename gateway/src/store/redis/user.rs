//! Users and their state, and their credentials.

use std::time::Duration;

use super::{
    RedisStore,
    account::MORE,
    record::read_credential,
    script::{self, Reply, millis, state_text, unexpected},
};
use crate::{
    keys::Sealed,
    model::{AttemptId, CredentialRecord, IdentityState, UserId, UserRecord, user::IDENTITY_CREDENTIAL},
    store::{EndedSignIns, Ending, IdentityRefusal, Lease, Result, Unfinished, UserUpdate, keys},
};

impl RedisStore {
    pub(super) async fn read_one_user(&self, id: &UserId) -> Result<Option<UserRecord>> {
        let mut reply = self.run(self.step(&script::USER).arg(keys::user(id))).await?;
        Ok(if reply.tag()? == "yes" { self.read_user(id, &mut reply) } else { None })
    }

    pub(super) async fn checked(&self, update: &UserUpdate) -> Result<()> {
        let (key, profile, mac) = self.user_args(update);
        let step = self.step(&script::USER_CHECKED).arg(key).arg(&update.identity).arg(profile).arg(mac);
        self.run(step).await.map(drop)
    }

    pub(super) async fn set_state(&self, user: &UserId, state: &IdentityState) -> Ending<bool> {
        let told = matches!(state, IdentityState::Dead { told: true, .. });
        let step = self.step(&script::SET_STATE).arg(keys::user(user)).arg(state_text(state));
        let step = step.arg(u8::from(told));
        if told || *state == IdentityState::Live {
            let changed = self.run(step).await.and_then(Reply::yes);
            return changed.map_err(|error| Unfinished { done: false, error });
        }
        self.ending(step, |reply| Ok(reply.tag()? == "yes"), |changed| changed).await
    }

    pub(super) async fn refuse(
        &self,
        user: &UserId,
        version: u64,
        reason: &str,
    ) -> Ending<IdentityRefusal, bool> {
        let dead = IdentityState::Dead { reason: reason.to_owned(), told: false };
        let step = self.step(&script::REFUSE_IDENTITY).arg(keys::user(user));
        let step = step.arg(keys::credential(user, IDENTITY_CREDENTIAL)).arg(version);
        let read = |reply: &mut Reply| match reply.tag()?.as_str() {
            "died" => Ok(IdentityRefusal::Died),
            "dead" => Ok(IdentityRefusal::WasDead),
            "no" => Ok(IdentityRefusal::Stale),
            _ => Err(unexpected()),
        };
        self.ending(step.arg(state_text(&dead)), read, |refusal| refusal == IdentityRefusal::Died).await
    }

    pub(super) async fn all_users(&self) -> Result<Vec<UserId>> {
        let mut reply = self.run(self.step(&script::USERS)).await?;
        let mut users = Vec::new();
        while let Some(key) = reply.text() {
            users.extend(key.strip_prefix(keys::USER).and_then(UserId::parse));
        }
        Ok(users)
    }

    pub(super) async fn end_all(&self, user: &UserId) -> Ending<EndedSignIns> {
        let step = || self.step(&script::END_SIGN_INS).arg(keys::user(user));
        let read = |all: &mut EndedSignIns, reply: &mut Reply| {
            all.grants.extend(self.ended_grants(user, reply)?);
            all.sessions += reply.number::<u64>().ok_or_else(unexpected)?;
            reply.more()
        };
        self.in_batches(step, read).await
    }

    pub(super) async fn purge(&self, user: &UserId) -> Ending<bool> {
        let step = || self.step(&script::PURGE_USER).arg(keys::user(user));
        let read = |known: &mut bool, reply: &mut Reply| {
            let tag = reply.tag()?;
            *known = tag == "yes";
            Ok(tag == MORE)
        };
        self.in_batches(step, read).await
    }

    pub(super) async fn read_one_credential(
        &self,
        user: &UserId,
        name: &str,
    ) -> Result<Option<CredentialRecord>> {
        let step = self.step(&script::CREDENTIAL).arg(keys::user(user)).arg(keys::credential(user, name));
        let mut reply = self.run(step).await?;
        reply.tag()?;
        Ok(read_credential(&mut reply))
    }

    pub(super) async fn lease(
        &self,
        user: &UserId,
        name: &str,
        version: u64,
        attempt: &AttemptId,
        lease: Duration,
    ) -> Result<Lease> {
        let step = self.step(&script::LEASE).arg(keys::user(user)).arg(keys::credential(user, name));
        let step = step.arg(version).arg(attempt.to_string()).arg(millis(lease));
        let mut reply: Reply = self.run(step).await?;
        match reply.tag()?.as_str() {
            "won" => Ok(Lease::Won),
            "taken_over" => Ok(Lease::TakenOver),
            "absent" => Ok(Lease::Absent),
            "busy" => reply.millis().map(Lease::Busy).ok_or_else(unexpected),
            "moved" => {
                let current = read_credential(&mut reply).ok_or_else(unexpected)?;
                Ok(Lease::Moved(Box::new(current)))
            }
            _ => Err(unexpected()),
        }
    }

    pub(super) async fn store_refreshed(
        &self,
        user: &UserId,
        name: &str,
        version: u64,
        sealed: &Sealed,
    ) -> Result<bool> {
        let step = self.step(&script::STORE_CREDENTIAL);
        let step = step.arg(keys::user(user)).arg(keys::credential(user, name));
        self.claim(step.arg(version).arg(sealed.as_bytes())).await?.yes()
    }

    pub(super) async fn release(&self, user: &UserId, name: &str, attempt: &AttemptId) -> Result<()> {
        let step = self.step(&script::RELEASE).arg(keys::credential(user, name)).arg(attempt.to_string());
        self.run(step).await.map(drop)
    }
}
