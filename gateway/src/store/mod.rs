//! All the state there is: one trait of whole, atomic steps, with two back ends.
//!
//! There is no get, set or delete here: each method is a step of the protocols that either happens or does not, for
//! all replicas. Lives of records are decided by the store's own clock (Redis's `TIME`, or the injected clock of the
//! memory store). Records that grant something are authenticated: a back end treats one with a wrong MAC as absent.
//! One contract suite runs against both back ends.

mod account;
mod clock;
pub mod keys;
pub mod memory;
pub mod redis;
mod sign_in;
mod steps;

use std::time::Duration;

use async_trait::async_trait;
use gatehouse_gateway_config::denial::Denial;

use crate::{
    keys::Sealed,
    model::{
        AttemptId, CredentialRecord, Flow, FlowId, FlowRequest, Grant, GrantId, Hash32, IdentityState,
        Session, UserId, UserRecord,
    },
};

pub use account::{
    AccountRecord, AccountSteps, EndedSessions, GRANTS_LISTED, ListedGrant, ListedSession, SESSIONS_LISTED,
};
pub use clock::StoreClock;
pub use sign_in::{Approval, CallbackClaim, CodeStanding, Completion, TakenBack};
pub use steps::{
    CallRecord, CodeProof, EndedSignIns, Event, EventBatch, EventCursor, GrantEnd, Heard, IdentityRefusal,
    Lease, NewTokens, Quota, Redemption, Replay, Revocation, RobotGrant, Rotated, Rotation, UserUpdate,
};

/// Why a step did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached, refuses us, or did not acknowledge a claim. Nothing may be minted: answer 503.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}

/// The result of a step.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a step is not known to have happened as a whole, and what of it did. That is done, and no repetition finds it
/// again: whoever asked for it must tell it now.
#[derive(Debug, Clone)]
pub struct Unfinished<T> {
    /// What happened.
    pub done: T,
    /// What did not: a part, or the acknowledgement of one.
    pub error: StoreError,
}

/// The result of a step that ends something, whose parts happen one after the other.
pub type Ending<T, D = T> = std::result::Result<T, Unfinished<D>>;

/// The state of one server. See the module.
#[async_trait]
pub trait Store: AccountSteps + Send + Sync + std::fmt::Debug {
    /// Whether steps would happen now.
    async fn ping(&self) -> Result<()>;
    /// Milliseconds since 1970 by the store's own clock, which all replicas share, without asking for them: as last
    /// heard, and carried on. `None`: this replica has not heard from the store yet, and nothing may be dated.
    fn unix_millis(&self) -> Option<i64>;
    /// The same in seconds.
    fn unix(&self) -> Option<i64> {
        self.unix_millis().map(|millis| millis.div_euclid(1000))
    }

    // Sign-in

    /// Writes a flow, pending. However often it is renewed, it ends after [`keys::FLOW_LIVES`] of this life.
    async fn create_flow(&self, request: &FlowRequest, life: Duration) -> Result<()>;
    /// Reads a flow.
    async fn flow(&self, id: &FlowId) -> Result<Option<Flow>>;
    /// `local`: writes user, credential and session in one step, and pins the user in the flow, which must be
    /// pending. `false`: it is not (any more), and nothing was written.
    async fn sign_in(
        &self,
        flow: &FlowId,
        user: &UserUpdate,
        credential: Option<&Sealed>,
        session: (&Hash32, &Session, Duration),
    ) -> Result<bool>;
    /// Pins the user of an existing session in a pending flow.
    async fn pin(&self, flow: &FlowId, user: &UserId, session: &Hash32) -> Result<bool>;
    /// Reads a session.
    async fn session(&self, id: &Hash32) -> Result<Option<Session>>;
    /// Ends a session ("use another account"). A claim: whoever has its cookie is to stay out.
    async fn end_session(&self, id: &Hash32) -> Result<()>;
    /// The user says yes: pending → approved, and the flow's life begins anew. Repeating it changes nothing.
    async fn approve_flow(
        &self,
        id: &FlowId,
        nonce: &Hash32,
        cookie: &Hash32,
        life: Duration,
    ) -> Result<Approval>;
    /// The user says no: → denied; a code that was issued and waits ends with its grant, and its consent is remembered as
    /// far as other grants rest on it. `None`: there is no such flow with this nonce and cookie, or it is denied, or its
    /// code was redeemed.
    async fn deny_flow(&self, id: &FlowId, nonce: &Hash32, cookie: &Hash32) -> Result<Option<TakenBack>>;
    /// Starts the attempt of an approved flow that follows attempt `after` ("try again"), and the flow's life anew; where
    /// another one is current by now, that is the answer and nothing changes. `None`: there is no such flow with this
    /// cookie, or it has had its attempts.
    async fn next_attempt(
        &self,
        id: &FlowId,
        cookie: &Hash32,
        after: u32,
        life: Duration,
    ) -> Result<Option<u32>>;
    /// Claims the identity provider's answer to an attempt. The cookie must be the flow's.
    async fn claim_callback(&self, id: &FlowId, cookie: &Hash32, attempt: u32) -> Result<CallbackClaim>;
    /// Finishes a sign-in: user, identity credential, grant, code, client record, consent and the flow's end. The grants
    /// that it ended, because the user had [`keys::GRANTS_KEPT`]. `None`: the flow is not approved at that attempt any
    /// more, and nothing was written.
    async fn complete_flow(&self, completion: &Completion) -> Ending<Option<Vec<Grant>>>;
    /// What became of a code that was issued in the last minutes.
    async fn code_standing(&self, code: &Hash32) -> Result<CodeStanding>;
    /// When this user gave this consent before and did not take it back, in seconds since 1970.
    async fn consented(&self, user: &UserId, consent: &Hash32) -> Result<Option<i64>>;

    // Tokens

    /// Redeems a code, once. What happened of a failure: why the grant ended, if it did.
    async fn redeem_code(
        &self,
        proof: &CodeProof,
        tokens: &NewTokens,
    ) -> Ending<Redemption, Option<GrantEnd>>;
    /// Reads a grant, redeemed or not.
    async fn grant(&self, id: &GrantId) -> Result<Option<Grant>>;
    /// Replaces a refresh token. What happened of a failure: as for a code.
    async fn rotate_refresh(&self, rotation: &Rotation) -> Ending<Rotated, Option<GrantEnd>>;
    /// Ends a grant and all its tokens, if it is this client's, which an assertion proved if the grant asks for one.
    /// What happened of a failure: the grant, if it ended.
    async fn revoke_for_client(
        &self,
        id: &GrantId,
        client_id: &str,
        assertion: Option<&Hash32>,
    ) -> Ending<Revocation, Option<Box<Grant>>>;

    /// Writes a robot, its grant and its access token. The grants that it ended, because there were
    /// [`keys::ROBOT_GRANTS_KEPT`]. `None`: the operator said something else since what the caller has heard, which is
    /// heard now, and nothing was written.
    async fn grant_robot(&self, robot: &RobotGrant) -> Result<Option<Vec<Grant>>>;

    // Calls

    /// What a call with this access token may know; `None`: no such token.
    async fn call(&self, access: &Hash32) -> Result<Option<CallRecord>>;
    /// Waits until what was read so far is acknowledged as claims are: what is not there may have ended a moment ago.
    async fn settled(&self) -> Result<()>;
    /// Reads a user.
    async fn user(&self, id: &UserId) -> Result<Option<UserRecord>>;
    /// Dates a successful check of a user now, with the profile as learned.
    async fn user_checked(&self, update: &UserUpdate) -> Result<()>;
    /// Sets a user's state. `Dead` with `told` says that the user has read so; it changes a dead user only, so that
    /// it never undoes a sign-in that was finished meanwhile. Whether it changed; what does, but for the telling, is
    /// dated as a check is. A death is a claim; what else is forgotten lets nobody in.
    async fn set_identity_state(&self, user: &UserId, state: &IdentityState) -> Ending<bool>;
    /// The provider refused the identity's credential at `version` for good: the user becomes dead, not yet told, which
    /// is dated as a check is, and a dead one stays as it is. What happened of a failure: whether they are dead by it.
    async fn refuse_identity(
        &self,
        user: &UserId,
        version: u64,
        reason: &str,
    ) -> Ending<IdentityRefusal, bool>;
    /// All users known of the server, for purging those that a `local` file no longer names.
    async fn users(&self) -> Result<Vec<UserId>>;
    /// Ends all grants and sessions of a user, who stays, with their credentials. Many end in several steps.
    async fn end_sign_ins(&self, user: &UserId) -> Ending<EndedSignIns>;
    /// Deletes a user with grants, sessions and credentials. Whether there was one.
    async fn purge_user(&self, user: &UserId) -> Ending<bool>;

    // Upstream credentials

    /// Reads a credential.
    async fn credential(&self, user: &UserId, name: &str) -> Result<Option<CredentialRecord>>;
    /// Asks for the lease of a refresh of the credential at `version`.
    async fn lease_refresh(
        &self,
        user: &UserId,
        name: &str,
        version: u64,
        attempt: &AttemptId,
        lease: Duration,
    ) -> Result<Lease>;
    /// Stores the outcome of a refresh whose parent was `version`, whoever holds the lease. `false`: it has moved on.
    async fn store_credential(
        &self,
        user: &UserId,
        name: &str,
        version: u64,
        sealed: &Sealed,
    ) -> Result<bool>;
    /// Gives the lease back after an attempt that changed nothing upstream.
    async fn release_refresh(&self, user: &UserId, name: &str, attempt: &AttemptId) -> Result<()>;

    // The operator's word, limits and events

    /// Who was denied since this gateway's configuration was written, if the operator ever said so.
    async fn denial(&self) -> Result<Option<Denial>>;
    /// The same as this replica last heard it, from [`Store::denial`] or from a step that met another than the caller's.
    fn heard(&self) -> Heard;

    /// Counts a hit on `key` in a fixed window; the count so far, and what is left of the window.
    async fn hit(&self, key: &str, window: Duration) -> Result<(u64, Duration)>;
    /// Counts a request in each of these windows, if none of them is full. What is refused is counted nowhere: it takes
    /// nobody's room, and floods make no counters. How long the first full one still lasts; `None`: admitted.
    async fn admit(&self, quotas: &[Quota]) -> Result<Option<Duration>>;
    /// The end of the list of events.
    async fn event_cursor(&self) -> Result<EventCursor>;
    /// Events after `cursor`, waiting up to `wait` for the first.
    async fn events(&self, cursor: &EventCursor, wait: Duration) -> Result<EventBatch>;
}
