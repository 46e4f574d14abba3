//! What a user's own page needs: what they gave to clients, where they are signed in, and the ends of both.

use std::time::Duration;

use async_trait::async_trait;

use super::{Ending, Result, UserUpdate, keys};
use crate::{
    keys::Sealed,
    model::{FlowId, Grant, GrantId, Hash32, Session, UserId},
};

/// How many grants are listed: all that a user has.
pub const GRANTS_LISTED: usize = keys::GRANTS_KEPT;
/// How many sessions are listed: all that a user has.
pub const SESSIONS_LISTED: usize = keys::SESSIONS_KEPT;

/// What a user's own page shows. Bounded: [`GRANTS_LISTED`] and [`SESSIONS_LISTED`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountRecord {
    /// The grants that clients redeemed, the one used last first.
    pub grants: Vec<ListedGrant>,
    /// The browser sessions, the newest first.
    pub sessions: Vec<ListedSession>,
}

/// One client that may act for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedGrant {
    /// The grant.
    pub grant: Grant,
    /// How long ago a token of it was last used or replaced, by the store's clock; exact to a minute.
    pub used_ago: Duration,
}

/// One browser in which the user is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSession {
    /// The hash of its cookie.
    pub id: Hash32,
    /// The session.
    pub session: Session,
}

/// Which sessions of a user end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedSessions {
    /// This one.
    One(Hash32),
    /// All but this one.
    AllBut(Hash32),
}

/// The steps of a user's own page; part of [`super::Store`].
#[async_trait]
pub trait AccountSteps {
    /// An identity provider's answer to an account sign-in: writes user, credential and session in one step and ends
    /// the flow, which must be approved, and whose `attempt` the caller must have claimed. `false`: it is not, and
    /// nothing was written. `None` as the credential: the identity gives none, an older one is removed.
    async fn sign_in_at_provider(
        &self,
        flow: (&FlowId, u32),
        user: &UserUpdate,
        credential: Option<&Sealed>,
        session: (&Hash32, &Session, Duration),
    ) -> Result<bool>;
    /// What a user gave to clients, and where they are signed in.
    async fn account(&self, user: &UserId) -> Result<AccountRecord>;
    /// Ends a grant of this user and all its tokens, or with `None` all grants, also those whose code is not redeemed
    /// yet; the ones that ended. A grant of another user is as absent. Many end in several steps.
    async fn revoke_for_user(&self, user: &UserId, grant: Option<&GrantId>) -> Ending<Vec<Grant>>;
    /// Ends sessions of this user; how many.
    async fn end_sessions(&self, user: &UserId, which: EndedSessions) -> Ending<u64>;
}
