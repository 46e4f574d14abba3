//! What the steps of the store take and answer.

use std::{sync::Arc, time::Duration};

use gatehouse_gateway_config::denial::Denial;

use crate::{
    keys::Sealed,
    model::{CredentialRecord, Grant, GrantId, Hash32, UserId, UserRecord},
};

/// A fixed window that a request counts in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Whose.
    pub key: String,
    /// How many it holds.
    pub count: u64,
    /// How long it lasts.
    pub window: Duration,
}

/// A user's profile as just learned from the identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserUpdate {
    /// The user.
    pub id: UserId,
    /// The identity.
    pub identity: String,
    /// The sealed profile.
    pub profile: Sealed,
}

/// What a client shows to redeem a code. All must equal what the code was issued for.
#[derive(Debug, Clone)]
pub struct CodeProof {
    /// The code's hash.
    pub code: Hash32,
    /// The grant named inside the code.
    pub grant: GrantId,
    /// The authenticated client.
    pub client_id: String,
    /// The redirect URI of the token request; `None` when it was left out, which only a request may do that answers
    /// an authorization request without one (RFC 6749 section 4.1.3).
    pub redirect_uri: Option<String>,
    /// The S256 of the verifier.
    pub challenge: String,
    /// The canonical resource; `None` when the request names none.
    pub resource: Option<String>,
    /// The assertion that proved the client ([`keys::assertion_id`]), which this spends; `None`: there was none.
    ///
    /// [`keys::assertion_id`]: super::keys::assertion_id
    pub assertion: Option<Hash32>,
    /// As [`Rotation::heard`].
    pub heard: String,
    /// As [`Rotation::rules`].
    pub rules: Hash32,
    /// As [`Rotation::judged`].
    pub judged: Option<Sealed>,
}

/// Hashes and lives of the tokens that a step writes.
#[derive(Debug, Clone)]
pub struct NewTokens {
    /// The access token's hash.
    pub access: Hash32,
    /// The access token's life.
    pub access_life: Duration,
    /// The refresh token's hash.
    pub refresh: Hash32,
    /// The refresh token's life, and the grant's.
    pub refresh_life: Duration,
    /// The absolute end of the sign-in, counted from the grant's redemption; lives are cut to it.
    pub sign_in_life: Duration,
}

/// The end of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redemption {
    /// The tokens are live. Lives as written, after the cut to the sign-in's end.
    Redeemed {
        /// The grant.
        grant: Box<Grant>,
        /// The access token's life.
        access_life: Duration,
    },
    /// No such code, or not for this client, the way in which it proved itself, redirect URI, verifier or resource. The
    /// code is untouched.
    Refused,
    /// The assertion was spent before. The code is untouched.
    AssertionSpent,
    /// The user must be judged first: they were not admitted with their profile, by these rules, after the operator's
    /// last word. The code is untouched.
    JudgementDue {
        /// The grant.
        grant: Box<Grant>,
        /// The user.
        user: Box<UserRecord>,
    },
    /// The user's identity is dead. The code is untouched.
    Dead(Box<UserRecord>),
    /// The grant's record is not ours: it was ended.
    Forged,
    /// The code was redeemed before with the same client and verifier.
    Replayed(Replay),
}

/// A code that is presented once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Replay {
    /// Within two seconds of its redemption: one client's parallel requests. Nothing was changed.
    Parallel,
    /// Later, which ended the grant.
    Ended,
    /// Later, when there was nothing left to end.
    EndedBefore,
}

/// Why a request for tokens ended the grant that it was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantEnd {
    /// What it presented was used before: [`Redemption::Replayed`], [`Rotated::Reused`].
    Reuse,
    /// A record of the grant is not ours: [`Redemption::Forged`], [`Rotated::Forged`].
    Forged,
}

/// A refresh. See the protocols, "Tokens and refresh".
#[derive(Debug, Clone)]
pub struct Rotation {
    /// The presented token's hash.
    pub presented: Hash32,
    /// The grant named inside the token, whose MAC was checked.
    pub grant: GrantId,
    /// The generation named inside the token.
    pub generation: u32,
    /// The authenticated client.
    pub client_id: String,
    /// The identity that is configured now.
    pub identity: String,
    /// The canonical resource; `None` when the request names none.
    pub resource: Option<String>,
    /// As [`CodeProof::assertion`].
    pub assertion: Option<Hash32>,
    /// What is written.
    pub next: NewTokens,
    /// The next pair, sealed for the holder of the presented token.
    pub successor: Sealed,
    /// How long the presented token answers with the successor; zero: not at all.
    pub grace: Duration,
    /// Ask for a check of the user when the last is at least this old; `None`: the check was just made.
    pub recheck_every: Option<Duration>,
    /// What the caller has heard of the operator's word ([`Heard::mark`]).
    pub heard: String,
    /// By what the caller judges users: a hash of all that decides it besides the user's profile.
    pub rules: Hash32,
    /// The profile that the caller has just judged by these rules, and admitted.
    pub judged: Option<Sealed>,
}

/// The outcome of a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The next pair is live.
    Rotated {
        /// The grant.
        grant: Box<Grant>,
        /// The user, as admitted.
        user: Box<UserRecord>,
        /// The access token's life as written.
        access_life: Duration,
    },
    /// The token was replaced a moment ago: this is the same successor that the first caller got.
    Successor {
        /// The grant.
        grant: Box<Grant>,
        /// The user, who may have been judged by other rules.
        user: Box<UserRecord>,
        /// The sealed pair.
        sealed: Sealed,
        /// What is left of the successor access token's life.
        access_life: Duration,
    },
    /// The user must be checked with the identity provider first, or judged: the last check is too old, or this grant's
    /// user was not admitted with this profile, by these rules, after the operator's last word. Nothing was changed.
    CheckDue {
        /// The grant.
        grant: Box<Grant>,
        /// The user.
        user: Box<UserRecord>,
    },
    /// The user's identity is dead: nothing was changed, the family lives.
    Dead(Box<UserRecord>),
    /// A token of an older generation after its grace: the family was revoked.
    Reused,
    /// No such token, or not for this client, the way in which it proved itself, or resource.
    Refused,
    /// The assertion was spent before: nothing was changed.
    AssertionSpent,
    /// A record of the family is not ours: it was ended.
    Forged,
}

/// What a refusal of a user's identity did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityRefusal {
    /// The user is dead by it, not yet told.
    Died,
    /// They were before, and stay as they were.
    WasDead,
    /// A newer credential was stored meanwhile, or there is no such user: nothing was changed.
    Stale,
}

/// What ended with all of a user's sign-ins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndedSignIns {
    /// The grants.
    pub grants: Vec<Grant>,
    /// How many browser sessions.
    pub sessions: u64,
}

/// A token that a client gets for itself (RFC 6749 section 4.4): written in one step.
#[derive(Debug, Clone)]
pub struct RobotGrant {
    /// The client as a user; live, and checked now.
    pub user: UserUpdate,
    /// The grant, which lives as long as its token.
    pub grant: Grant,
    /// The access token's hash.
    pub access: Hash32,
    /// The access token's life.
    pub life: Duration,
    /// What the caller has heard of the operator's word ([`Heard::mark`]) and judged the client by.
    pub heard: String,
}

/// What a store has heard of the operator's word on who is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Tells it from any other; empty where the operator never said anything, or nothing was heard yet.
    pub mark: String,
    /// It; `None` where there is none, or it is not authentic.
    pub denial: Option<Arc<Denial>>,
}

/// The outcome of a client's wish to end a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// The grant and its tokens are gone; what it was.
    Revoked(Box<Grant>),
    /// It is another client's, or the client did not prove itself as the grant asks: nothing was changed.
    OtherClient,
    /// The assertion was spent before: nothing was changed.
    AssertionSpent,
    /// No such grant.
    Unknown,
}

/// All that one MCP call needs, in one round trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The grant.
    pub grant: Grant,
    /// The access token's scope.
    pub scope: String,
    /// The user.
    pub user: UserRecord,
    /// The identity's credential, if it gave one.
    pub credential: Option<CredentialRecord>,
    /// What is left of the access token's life.
    pub life: Duration,
}

/// Whether a refresh of an upstream credential may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lease {
    /// It is ours until the lease ends.
    Won,
    /// As [`Lease::Won`], but an earlier attempt at this version let its lease run out without giving it back: its
    /// outcome is unknown, and a late success of it may still be stored.
    TakenOver,
    /// Another replica's attempt is under way for this much longer.
    Busy(Duration),
    /// The credential has moved on: here is the current one.
    Moved(Box<CredentialRecord>),
    /// There is no such credential.
    Absent,
}

/// A change that replicas which cache or stream must learn of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A grant ended.
    Grant(GrantId),
    /// An access token ended before its time: it was replaced, and its grant goes on.
    Access(Hash32),
    /// A user's state, profile or credential changed.
    User(UserId),
    /// The operator wrote another denial.
    Denial,
}

/// A place in the list of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventCursor(pub String);

/// What came since a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventBatch {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// Where to go on.
    pub cursor: EventCursor,
    /// The list was trimmed past the cursor: events may be missing, everything cached must be dropped.
    pub gap: bool,
}
