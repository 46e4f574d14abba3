//! What the steps of a sign-in take and answer.

use std::time::Duration;

use super::UserUpdate;
use crate::{
    keys::Sealed,
    model::{Flow, FlowId, Grant, GrantId, Hash32, Session},
};

/// The user's answer on the consent page took effect, or why it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Approval {
    /// The flow is approved (now, or by the same link before); the attempt under way.
    Approved {
        /// The flow as it is now.
        flow: Box<Flow>,
        /// Which attempt at the identity provider.
        attempt: u32,
    },
    /// It is over; see its state ([`crate::model::FlowState::Done`] or `Denied`).
    Over(Box<Flow>),
    /// No such flow, or it has expired, or the nonce or cookie is not the flow's.
    Unknown,
}

/// What a denial undid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBack {
    /// Nothing: it was the first decision.
    Nothing,
    /// An approval; the browser was at the identity provider.
    Approval,
    /// A code that waited, with the grant that it was for.
    Code(GrantId),
}

/// What became of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeStanding {
    /// It can be redeemed.
    Waits,
    /// It was redeemed, and what came of it is in force.
    Redeemed,
    /// It expired, or was redeemed and what came of it has ended.
    Gone,
}

/// What the identity provider's answer may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallbackClaim {
    /// The attempt is ours to finish; nobody else gets this answer.
    Claimed(Box<Flow>),
    /// Its callback was seen before, or a newer attempt is under way: offer "try again".
    Spent(Box<Flow>),
    /// The flow is over.
    Over(Box<Flow>),
    /// No such flow, or it was never approved.
    Unknown,
}

/// A finished sign-in: written in one step or not at all.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The flow, which must be approved and at `attempt`.
    pub flow: FlowId,
    /// The attempt that is being finished.
    pub attempt: u32,
    /// The user; the state becomes live, and the check is dated now.
    pub user: UserUpdate,
    /// The identity's tokens, which replace older ones. `None`: the identity gives none, older ones are removed.
    pub identity_credential: Option<Sealed>,
    /// The grant; it lives `code_life` until it is redeemed.
    pub grant: Grant,
    /// By what the user was judged, see [`super::Rotation::rules`].
    pub rules: Hash32,
    /// The hash of the authorization code.
    pub code: Hash32,
    /// The PKCE challenge, copied from the flow.
    pub challenge: String,
    /// How long the code lives.
    pub code_life: Duration,
    /// How long the client's registration is remembered (`oauth:client:<hash of client id>`).
    pub client_life: Duration,
    /// What is remembered of the consent: a hash of client, redirect URI without loopback port, scope, accounts.
    pub consent: Hash32,
    /// The final redirect, sealed for the flow's cookie.
    pub sealed_redirect: String,
    /// The session that the browser gets, with its life; `None`: it has one, by which the user approved.
    pub session: Option<(Hash32, Session, Duration)>,
}
