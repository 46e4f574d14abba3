//! Who calls: what one access token stands for, as the store told it.

use std::fmt;

use http::{HeaderName, HeaderValue};
use tokio::sync::OnceCell;

use crate::{
    audit,
    model::{Hash32, Profile, ScopeSet},
    store::CallRecord,
};

/// An authenticated caller. Kept for at most five seconds, see [`super::cache`].
pub(super) struct Caller {
    /// The hash of the access token.
    pub access: Hash32,
    /// What the store knows.
    pub record: CallRecord,
    /// The opened profile.
    pub profile: Profile,
    /// What the token is good for, now.
    pub scopes: ScopeSet,
    /// What this user could be granted by this client, now.
    pub grantable: ScopeSet,
    /// The client, for the audit trail.
    pub client: audit::Client,
    /// The headers that this user's calls carry, once they were made.
    pub injected: OnceCell<Vec<(HeaderName, HeaderValue)>>,
}

impl Caller {
    /// A caller of this record.
    pub(super) fn new(
        access: Hash32,
        record: CallRecord,
        profile: Profile,
        scopes: ScopeSet,
        grantable: ScopeSet,
    ) -> Self {
        let client = audit::Client::of(&record.grant);
        Self { access, record, profile, scopes, grantable, client, injected: OnceCell::new() }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("grant", &self.record.grant.id).finish_non_exhaustive()
    }
}
