//! The states of a code and of the family of tokens that comes of it (RFC 6749 sections 4.1.2 and 6, RFC 9700 section
//! 4.14.2).
//!
//! ```text
//! code:    Live ─show─▶ Spent ─shown again, late─▶ ends the family
//! family:  Issued ─redeem─▶ Live(1) ─rotate─▶ Live(2) ─rotate─▶ …
//! ```
//!
//! There is one live refresh token, that of the family's generation. The one before it answers with the same successor
//! during its grace; any older one proves that it was stolen, or its successor was, and ends the family. What has ended
//! has no state: its records are gone.

use std::time::Duration;

/// How far apart two redemptions of one code may be and still be one client's parallel requests.
pub const REPLAY_GRACE: Duration = Duration::from_secs(2);

/// Where a code stands that was not lost to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeState {
    /// It can be redeemed.
    Live,
    /// It was redeemed, at this time of the store's.
    Spent(Duration),
}

/// What showing a code, by the client that it was issued to and with the right verifier, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It is redeemed: the state after it.
    Redeemed(CodeState),
    /// It loses to another request of the same client, a moment before.
    Parallel,
    /// It was redeemed long before: two parties hold it, and what came of it ends.
    Replayed,
}

impl CodeState {
    /// The code is shown at `now`.
    pub fn show(self, now: Duration) -> Shown {
        match self {
            Self::Live => Shown::Redeemed(Self::Spent(now)),
            Self::Spent(at) if now.saturating_sub(at) > REPLAY_GRACE => Shown::Replayed,
            Self::Spent(_) => Shown::Parallel,
        }
    }
}

/// Where a family stands that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyState {
    /// Its code waits to be redeemed; there are no tokens.
    Issued,
    /// It has tokens.
    Live {
        /// When its code was redeemed: the sign-in's absolute end counts from here.
        since: Duration,
        /// That of its one live refresh token; 1 for the first, 0 for a robot's family, which has none.
        generation: u32,
    },
}

/// What the store still holds under a presented refresh token's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A live token of this generation.
    Live(u32),
    /// The successor, as long as the grace lasts.
    Successor,
    /// Nothing.
    Nothing,
}

/// What presenting a refresh token, whose own MAC is right, does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The next pair becomes the live one: the state after it.
    Rotate(FamilyState),
    /// The successor is told once more; nothing changes.
    Repeat,
    /// The family ends.
    Reuse,
    /// Nothing changes.
    Refuse,
}

impl FamilyState {
    /// The code is redeemed at `now`. `None`: it was before.
    pub fn redeem(self, now: Duration) -> Option<Self> {
        (self == Self::Issued).then_some(Self::Live { since: now, generation: 1 })
    }

    /// That of its live refresh token; 0 where there is none yet.
    pub fn generation(self) -> u32 {
        match self {
            Self::Issued => 0,
            Self::Live { generation, .. } => generation,
        }
    }

    /// When its code was redeemed, or a robot was given its token.
    pub fn since(self) -> Option<Duration> {
        match self {
            Self::Issued => None,
            Self::Live { since, .. } => Some(since),
        }
    }

    /// What is left of a sign-in that lasts `life` from its redemption.
    pub fn left(self, life: Duration, now: Duration) -> Duration {
        self.since().map_or(life, |since| (since + life).saturating_sub(now))
    }

    /// A refresh token that says it is of generation `presented` arrives.
    pub fn present(self, presented: u32, held: Held) -> Turn {
        let Self::Live { since, generation } = self else { return Turn::Refuse };
        match held {
            Held::Live(of) if of == generation && presented == generation => {
                match generation.checked_add(1) {
                    Some(generation) => Turn::Rotate(Self::Live { since, generation }),
                    None => Turn::Refuse,
                }
            }
            Held::Successor => Turn::Repeat,
            Held::Live(_) | Held::Nothing if presented < generation => Turn::Reuse,
            Held::Live(_) | Held::Nothing => Turn::Refuse,
        }
    }
}
