//! Every key of the state and every life that the store itself decides, in one place. The other lives come with the
//! steps, from policy.
//!
//! A key is the server's prefix and a suffix. Records name other records by suffix, so that a script needs nothing
//! but the prefix to follow them, and can never leave it.

use std::time::Duration;

use crate::model::{FlowId, GrantId, Hash32, UserId};

const DAY_SECS: u64 = 24 * 3600;

/// A redeemed code is remembered this long, so that a replay is told from nonsense.
pub const SPENT_CODE_LIFE: Duration = Duration::from_secs(600);
/// How long a spent assertion is remembered: longer than one is accepted, also where the clock of the next master is a
/// quarter of an hour behind.
pub const SPENT_ASSERTION_LIFE: Duration = Duration::from_secs(1800);
/// A flow ends so many of its lives after it began, however often it is renewed: what counts those that are begun in the
/// life of one counts about those that there are.
pub const FLOW_LIVES: u32 = 2;
/// How long "you approved this on …" is remembered.
pub const CONSENT_LIFE: Duration = Duration::from_secs(90 * DAY_SECS);
/// A user's life, renewed by use; that of the indexes, too.
pub const USER_LIFE: Duration = Duration::from_secs(400 * DAY_SECS);
/// A credential's life from its last use.
pub const CREDENTIAL_LIFE: Duration = Duration::from_secs(180 * DAY_SECS);
/// How many events are kept.
pub const EVENTS_KEPT: usize = 1000;
/// The life of the list of events from the last one.
pub const EVENTS_LIFE: Duration = Duration::from_secs(400 * DAY_SECS);

/// A user has at most so many grants: one more ends the one that was used longest ago.
pub const GRANTS_KEPT: usize = 100;
/// The same of browser sessions, of which the newest stay.
pub const SESSIONS_KEPT: usize = 50;
/// The same of remembered consents.
pub const CONSENTS_KEPT: usize = 200;
/// The same of a client that acts for itself, each of whose tokens is a grant; of these the oldest ends.
pub const ROBOT_GRANTS_KEPT: usize = 1000;
/// The same of clients that were issued a code for the user.
pub const CLIENTS_KEPT: usize = 200;
/// What ends together, at most: while a script runs, nobody else is answered.
pub const BATCH: usize = 50;

/// `oauth:code:<hash>`: the policy's `authorizationCode`.
pub const CODE: &str = "oauth:code:";
/// `oauth:access:<hash>`: the policy's `accessToken`.
pub const ACCESS: &str = "oauth:access:";
/// `grant:<id>`: until the code ends, then as long as its refresh token.
pub const GRANT: &str = "grant:";
/// `user:<u>`, and with a tail `user:<u>:{grants,sessions,credentials,consents,clients}`: [`USER_LIFE`], renewed.
pub const USER: &str = "user:";
/// `credential:<u>:<name>`: [`CREDENTIAL_LIFE`] from its last use.
pub const CREDENTIAL: &str = "credential:";
/// `session:<hash>`: as its step says.
pub const SESSION: &str = "session:";
/// All users: [`USER_LIFE`], renewed.
pub const USERS: &str = "users";
/// The list of changes: [`EVENTS_KEPT`] for [`EVENTS_LIFE`].
pub const EVENTS: &str = "events";
/// Written after a claim that replicas must acknowledge: a second. Nobody reads it.
pub const CLAIMED: &str = "claimed";

/// The tails of a user's indexes.
pub const GRANTS_OF: &str = ":grants";
/// See [`GRANTS_OF`].
pub const SESSIONS_OF: &str = ":sessions";
/// See [`GRANTS_OF`].
pub const CREDENTIALS_OF: &str = ":credentials";
/// See [`GRANTS_OF`].
pub const CONSENTS_OF: &str = ":consents";
/// See [`GRANTS_OF`].
pub const CLIENTS_OF: &str = ":clients";

/// The prefix of every key of one server. The braces make it one slot of a Cluster.
pub fn prefix(key_prefix: &str, namespace: &str, name: &str, instance: &str) -> String {
    format!("{key_prefix}:{{{namespace}/{name}.{instance}}}:")
}

/// A client that was issued a code, for whoever looks into Redis: until its registration ends. Named by a hash, for a client
/// id may be a URL.
pub fn client(client_id: &str) -> String {
    format!("oauth:client:{}", Hash32::of(client_id.as_bytes()))
}

/// A code.
pub fn code(hash: &Hash32) -> String {
    format!("{CODE}{hash}")
}

/// A redeemed code: [`SPENT_CODE_LIFE`].
pub fn spent_code(hash: &Hash32) -> String {
    format!("oauth:spent:{hash}")
}

/// An access token.
pub fn access(hash: &Hash32) -> String {
    format!("{ACCESS}{hash}")
}

/// A client's assertion that was spent: [`SPENT_ASSERTION_LIFE`].
pub fn spent_assertion(id: &Hash32) -> String {
    format!("jti:{id}")
}

/// What is remembered of an assertion: who signed it, and what its signer calls it.
pub fn assertion_id(client_id: &str, jti: &str) -> Hash32 {
    // A client id is a URL, which has no line breaks.
    Hash32::of(format!("{client_id}\n{jti}").as_bytes())
}

/// A refresh token: the policy's `refreshToken`; spent: `refreshGrace`.
pub fn refresh(hash: &Hash32) -> String {
    format!("oauth:refresh:{hash}")
}

/// A grant.
pub fn grant(id: &GrantId) -> String {
    format!("{GRANT}{id}")
}

/// A sign-in under way: as its step says, at most [`FLOW_LIVES`] of that.
pub fn flow(id: &FlowId) -> String {
    format!("flow:{id}")
}

/// A browser session: as its step says.
pub fn session(hash: &Hash32) -> String {
    format!("{SESSION}{hash}")
}

/// A remembered consent: [`CONSENT_LIFE`].
pub fn consent(user: &UserId, consent: &Hash32) -> String {
    format!("consent:{user}:{consent}")
}

/// A user.
pub fn user(id: &UserId) -> String {
    format!("{USER}{id}")
}

/// An upstream credential.
pub fn credential(user: &UserId, name: &str) -> String {
    format!("{CREDENTIAL}{user}:{name}")
}

/// A counter: its window. What is counted may be anything, so it is hashed.
pub fn limit(what: &str) -> String {
    format!("limit:{}", Hash32::of(what.as_bytes()))
}
