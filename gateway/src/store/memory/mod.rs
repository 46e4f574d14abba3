//! The store in one process: for `gatehouse dev` and for tests that choose the time.
//!
//! Every step runs under one mutex, so it is atomic; lives are counted by the injected clock's monotonic time. What
//! has expired is swept about once a second, by whichever step comes then, so memory is bounded by what lives.

mod account;
mod credential;
mod events;
mod flow;
mod grant;
mod state;
mod table;
mod token;
mod user;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use gatehouse_gateway_config::denial::Denial;
use tokio::sync::Notify;

use self::state::State;
use super::{
    Approval, CallRecord, CallbackClaim, CodeProof, CodeStanding, Completion, EndedSignIns, Ending, Event,
    EventBatch, EventCursor, GrantEnd, Heard, IdentityRefusal, Lease, NewTokens, Quota, Redemption, Result,
    Revocation, RobotGrant, Rotated, Rotation, Store, TakenBack, UserUpdate,
};
use crate::{
    clock::Clock,
    keys::Sealed,
    model::{
        AttemptId, CredentialRecord, Flow, FlowId, FlowRequest, Grant, GrantId, Hash32, IdentityState,
        Session, UserId, UserRecord,
    },
};

/// State in memory. Clones share it, as replicas share a Redis.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    clock: Arc<dyn Clock>,
    /// What the next stores of a credential meet.
    #[cfg(test)]
    outages: Arc<Mutex<Vec<Outage>>>,
}

/// A store of a credential that is not acknowledged.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outage {
    /// It did not happen.
    Lost,
    /// It did.
    Unacknowledged,
}

impl MemoryStore {
    /// An empty store that lives by `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Arc::default(),
            changed: Arc::default(),
            clock,
            #[cfg(test)]
            outages: Arc::default(),
        }
    }

    /// Lets the next stores of a credential fail, the last of these first.
    #[cfg(test)]
    pub(crate) fn fail_stores(&self, outages: &[Outage]) {
        self.outages.lock().unwrap().extend(outages);
    }

    /// Forgets everything, as a flushed Redis does.
    pub fn flush(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.flush();
        drop(state);
        self.changed.notify_waiters();
    }

    /// Denies, as the operator does in Redis.
    pub fn deny(&self, denial: Denial) {
        self.step(|s| {
            s.heard = Heard { mark: s.events.cursor().0, denial: Some(Arc::new(denial)) };
            s.events.push(Event::Denial);
        });
    }

    fn step<T>(&self, step: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // The clock is read under the lock, so that time never goes back from one step to the next.
        state.begin(self.clock.monotonic(), self.clock.unix());
        let before = state.events.last();
        let result = step(&mut state);
        if state.events.last() != before {
            self.changed.notify_waiters();
        }
        result
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    fn unix_millis(&self) -> Option<i64> {
        Some(self.clock.unix_millis())
    }

    async fn create_flow(&self, request: &FlowRequest, life: Duration) -> Result<()> {
        self.step(|s| s.create_flow(request, life));
        Ok(())
    }

    async fn flow(&self, id: &FlowId) -> Result<Option<Flow>> {
        Ok(self.step(|s| s.flows.get(id, s.now).cloned()))
    }

    async fn sign_in(
        &self,
        flow: &FlowId,
        user: &UserUpdate,
        credential: Option<&Sealed>,
        session: (&Hash32, &Session, Duration),
    ) -> Result<bool> {
        Ok(self.step(|s| s.sign_in(flow, user, credential, session)))
    }

    async fn pin(&self, flow: &FlowId, user: &UserId, session: &Hash32) -> Result<bool> {
        Ok(self.step(|s| s.pin(flow, user, session)))
    }

    async fn session(&self, id: &Hash32) -> Result<Option<Session>> {
        Ok(self.step(|s| s.sessions.get(id, s.now).cloned()))
    }

    async fn end_session(&self, id: &Hash32) -> Result<()> {
        self.step(|s| s.sessions.take(id, s.now));
        Ok(())
    }

    async fn approve_flow(
        &self,
        id: &FlowId,
        nonce: &Hash32,
        cookie: &Hash32,
        life: Duration,
    ) -> Result<Approval> {
        Ok(self.step(|s| s.approve_flow(id, nonce, cookie, life)))
    }

    async fn deny_flow(&self, id: &FlowId, nonce: &Hash32, cookie: &Hash32) -> Result<Option<TakenBack>> {
        Ok(self.step(|s| s.deny_flow(id, nonce, cookie)))
    }

    async fn next_attempt(
        &self,
        id: &FlowId,
        cookie: &Hash32,
        after: u32,
        life: Duration,
    ) -> Result<Option<u32>> {
        Ok(self.step(|s| s.next_attempt(id, cookie, after, life)))
    }

    async fn claim_callback(&self, id: &FlowId, cookie: &Hash32, attempt: u32) -> Result<CallbackClaim> {
        Ok(self.step(|s| s.claim_callback(id, cookie, attempt)))
    }

    async fn complete_flow(&self, completion: &Completion) -> Ending<Option<Vec<Grant>>> {
        Ok(self.step(|s| s.complete_flow(completion)))
    }

    async fn code_standing(&self, code: &Hash32) -> Result<CodeStanding> {
        Ok(self.step(|s| s.code_standing(code)))
    }

    async fn consented(&self, user: &UserId, consent: &Hash32) -> Result<Option<i64>> {
        Ok(self.step(|s| s.consents.get(&(*user, *consent), s.now).copied()))
    }

    async fn redeem_code(
        &self,
        proof: &CodeProof,
        tokens: &NewTokens,
    ) -> Ending<Redemption, Option<GrantEnd>> {
        Ok(self.step(|s| s.redeem_code(proof, tokens)))
    }

    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>> {
        Ok(self.step(|s| s.grants.get(id, s.now).map(|family| family.grant.clone())))
    }

    async fn rotate_refresh(&self, rotation: &Rotation) -> Ending<Rotated, Option<GrantEnd>> {
        Ok(self.step(|s| s.rotate_refresh(rotation)))
    }

    async fn revoke_for_client(
        &self,
        id: &GrantId,
        client_id: &str,
        assertion: Option<&Hash32>,
    ) -> Ending<Revocation, Option<Box<Grant>>> {
        Ok(self.step(|s| s.revoke_for_client(id, client_id, assertion)))
    }

    async fn grant_robot(&self, robot: &RobotGrant) -> Result<Option<Vec<Grant>>> {
        Ok(self.step(|s| s.grant_robot(robot)))
    }

    async fn call(&self, access: &Hash32) -> Result<Option<CallRecord>> {
        Ok(self.step(|s| s.call(access)))
    }

    async fn settled(&self) -> Result<()> {
        Ok(())
    }

    async fn user(&self, id: &UserId) -> Result<Option<UserRecord>> {
        Ok(self.step(|s| s.user(id)))
    }

    async fn user_checked(&self, update: &UserUpdate) -> Result<()> {
        self.step(|s| s.user_checked(update));
        Ok(())
    }

    async fn set_identity_state(&self, user: &UserId, state: &IdentityState) -> Ending<bool> {
        Ok(self.step(|s| s.set_identity_state(user, state)))
    }

    async fn refuse_identity(
        &self,
        user: &UserId,
        version: u64,
        reason: &str,
    ) -> Ending<IdentityRefusal, bool> {
        Ok(self.step(|s| s.refuse_identity(user, version, reason)))
    }

    async fn users(&self) -> Result<Vec<UserId>> {
        Ok(self.step(|s| s.users.iter(s.now).map(|(id, _)| *id).collect()))
    }

    async fn end_sign_ins(&self, user: &UserId) -> Ending<EndedSignIns> {
        Ok(self.step(|s| s.end_sign_ins(user)))
    }

    async fn purge_user(&self, user: &UserId) -> Ending<bool> {
        Ok(self.step(|s| s.purge_user(user)))
    }

    async fn credential(&self, user: &UserId, name: &str) -> Result<Option<CredentialRecord>> {
        Ok(self.step(|s| s.credential(user, name)))
    }

    async fn lease_refresh(
        &self,
        user: &UserId,
        name: &str,
        version: u64,
        attempt: &AttemptId,
        lease: Duration,
    ) -> Result<Lease> {
        Ok(self.step(|s| s.lease_refresh(user, name, version, attempt, lease)))
    }

    async fn store_credential(
        &self,
        user: &UserId,
        name: &str,
        version: u64,
        sealed: &Sealed,
    ) -> Result<bool> {
        #[cfg(test)]
        if let Some(outage) = self.outages.lock().unwrap().pop() {
            if outage == Outage::Unacknowledged {
                self.step(|s| s.store_credential(user, name, version, sealed));
            }
            return Err(crate::store::StoreError::Unavailable("as the test asked".to_owned()));
        }
        Ok(self.step(|s| s.store_credential(user, name, version, sealed)))
    }

    async fn release_refresh(&self, user: &UserId, name: &str, attempt: &AttemptId) -> Result<()> {
        self.step(|s| s.release_refresh(user, name, attempt));
        Ok(())
    }

    async fn hit(&self, key: &str, window: Duration) -> Result<(u64, Duration)> {
        Ok(self.step(|s| s.hit(key, window)))
    }

    async fn admit(&self, quotas: &[Quota]) -> Result<Option<Duration>> {
        Ok(self.step(|s| s.admit(quotas)))
    }

    async fn denial(&self) -> Result<Option<Denial>> {
        Ok(self.step(|s| s.heard.denial.as_deref().cloned()))
    }

    fn heard(&self) -> Heard {
        self.step(|s| s.heard.clone())
    }

    async fn event_cursor(&self) -> Result<EventCursor> {
        Ok(self.step(|s| s.events.cursor()))
    }

    async fn events(&self, cursor: &EventCursor, wait: Duration) -> Result<EventBatch> {
        // Registered before the first look, so that nothing falls between the look and the wait.
        let changed = self.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        let batch = self.step(|s| s.events.since(cursor));
        if !batch.events.is_empty() || batch.gap {
            return Ok(batch);
        }
        // Timed by the machine: a caller waits for real. That nothing came is an answer too.
        let _ = tokio::time::timeout(wait, changed).await;
        Ok(self.step(|s| s.events.since(cursor)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn what_expired_takes_no_memory() {
        let clock = ManualClock::at(0);
        let store = MemoryStore::new(Arc::new(clock.clone()));
        for n in 0..100 {
            store.hit(&format!("source-{n}"), Duration::from_secs(60)).await.unwrap();
        }
        clock.advance(Duration::from_secs(61));
        store.hit("another", Duration::from_secs(60)).await.unwrap();
        assert_eq!(store.step(|s| s.hits.len()), 1);
    }
}
