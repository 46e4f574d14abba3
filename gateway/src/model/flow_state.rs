//! The states of a sign-in and what leads from one to the next.
//!
//! ```text
//! Pending ─pin─▶ Pending ─approve─▶ Approved(1) ─complete─▶ Done
//!    └─deny─▶ Denied ◀─────────deny───┤ ▲               │
//!               ▲                     │ │               │
//!               └───────────deny──────┼─┼───────────────┘ while its code waits
//!                                     ├─┘ claim: the first answer to the attempt under way, once
//!                                     └─again─▶ Approved(n + 1), unclaimed, while n < ATTEMPTS
//! ```
//!
//! The memory store is this; Redis's scripts are held to it by the store's contract suite.

use serde::{Deserialize, Serialize};

use super::{Hash32, UserId};

/// How often one sign-in goes to the identity provider. Each time may cost a request there with our secret and renews the
/// flow, and whoever asks is not known yet.
pub const ATTEMPTS: u32 = 5;

/// Where a flow stands. Each transition answers with where it stands after it, or with `None` where it is not allowed; a
/// store makes each one step, and no other change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum FlowState {
    /// Waiting for the user's decision. With `identity.local` the user signed in before and is pinned.
    Pending {
        /// The user who signed in, and the hash of the session that proves it.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pinned: Option<(UserId, Hash32)>,
    },
    /// Approved: the browser is at the identity provider, for the `attempt`-th time.
    Approved {
        /// 1 for the first.
        attempt: u32,
        /// Whether the attempt's callback was seen: its upstream code is never sent twice.
        claimed: bool,
        /// The session pin of a `local` flow.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        pinned: Option<(UserId, Hash32)>,
    },
    /// Over. Holds the final redirect, sealed for the cookie's holder.
    Done {
        /// [`crate::keys::Sealed`] as text.
        sealed_redirect: String,
        /// The hash of the code: the redirect is repeated only while the code exists.
        code: Hash32,
    },
    /// The user said no.
    Denied,
}

/// What the identity provider's answer to one attempt meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is the first answer to the attempt under way: the state after it. Nobody else gets it.
    First(FlowState),
    /// Its answer was seen before, or a newer attempt is under way.
    Spent,
    /// The flow is over.
    Over,
    /// Nobody approved the flow.
    Early,
}

impl FlowState {
    /// Where every flow begins.
    pub const BEGUN: Self = Self::Pending { pinned: None };

    /// The user signed in before consent, or came with a session: they, and nobody else, may approve and complete.
    pub fn pin(&self, user: UserId, session: Hash32) -> Option<Self> {
        matches!(self, Self::Pending { .. }).then_some(Self::Pending { pinned: Some((user, session)) })
    }

    /// The user says yes. Saying it again changes nothing.
    pub fn approve(&self) -> Option<Self> {
        match self {
            Self::Pending { pinned } => Some(Self::Approved { attempt: 1, claimed: false, pinned: *pinned }),
            Self::Approved { .. } => Some(self.clone()),
            Self::Done { .. } | Self::Denied => None,
        }
    }

    /// The user says no, which ends also what they approved, until the application has it: `code_waits` says whether
    /// the code of a finished sign-in was not redeemed yet.
    pub fn deny(&self, code_waits: bool) -> Option<Self> {
        match self {
            Self::Pending { .. } | Self::Approved { .. } => Some(Self::Denied),
            Self::Done { .. } => code_waits.then_some(Self::Denied),
            Self::Denied => None,
        }
    }

    /// The attempt at the identity provider that follows `after`, of at most [`ATTEMPTS`]; answers to those before it are late.
    /// Where another one is current by now, nothing changes: who follows a link twice starts one attempt.
    pub fn again(&self, after: u32) -> Option<Self> {
        match self {
            Self::Approved { attempt, .. } if *attempt != after => Some(self.clone()),
            Self::Approved { attempt, pinned, .. } if *attempt < ATTEMPTS => {
                Some(Self::Approved { attempt: attempt + 1, claimed: false, pinned: *pinned })
            }
            _ => None,
        }
    }

    /// The identity provider answers to an attempt.
    pub fn claim(&self, answered: u32) -> Claim {
        match self {
            Self::Pending { .. } => Claim::Early,
            Self::Approved { attempt, claimed: false, pinned } if *attempt == answered => {
                Claim::First(Self::Approved { attempt: *attempt, claimed: true, pinned: *pinned })
            }
            Self::Approved { .. } => Claim::Spent,
            Self::Done { .. } | Self::Denied => Claim::Over,
        }
    }

    /// The sign-in is finished: by the user who was pinned, if one was, and in the attempt under way.
    pub fn complete(
        &self,
        finished: u32,
        user: UserId,
        sealed_redirect: String,
        code: Hash32,
    ) -> Option<Self> {
        let Self::Approved { attempt, pinned, .. } = self else { return None };
        let same = *attempt == finished && pinned.is_none_or(|(pinned, _)| pinned == user);
        same.then_some(Self::Done { sealed_redirect, code })
    }
}
