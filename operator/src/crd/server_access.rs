//! `McpServer.spec.access`: who may use a server.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::primitive::{Empty, GepDuration};

/// Who may use a server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.allow) != has(self.everyone)", "access needs exactly one of allow and everyone"))]
pub struct Access {
    /// Whoever matches one of the entries may use the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub allow: Option<Vec<AccessEntry>>,
    /// Everyone who can sign in may use the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub everyone: Option<Empty>,
    /// Whoever matches one of these entries may not; wins over allow and everyone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub deny: Vec<AccessEntry>,
    /// When the identity provider is asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recheck: Option<Recheck>,
}

/// One entry: every field that is given must match; inside a field, one value must.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.subjects) || has(self.emails) || has(self.emailDomains) || has(self.groups)", "an entry needs at least one of subjects, emails, emailDomains and groups"))]
pub struct AccessEntry {
    /// Immutable subjects at the identity provider: OIDC's sub, GitHub's numeric id, Atlassian's account
    /// id, Bitbucket's uuid with its braces, the uid of a local user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 256)))]
    pub subjects: Option<Vec<String>>,
    /// Verified e-mail addresses, compared without case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 3, max = 254), regex(pattern = r"^[^@\s]+@[^@\s]+$"))
    )]
    pub emails: Option<Vec<String>>,
    /// Domains of verified e-mail addresses, compared without case and without sub-domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 256),
        inner(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?$"))
    )]
    pub email_domains: Option<Vec<String>>,
    /// Groups as the identity provider names them. GitHub's are organisations (acme) and teams (acme/platform),
    /// Bitbucket's the workspaces (acme) that it lists for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 256)))]
    pub groups: Option<Vec<String>>,
}

/// When the identity provider is asked again whether a user is still good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("duration(self.every) >= duration('1s')", "access.recheck.every must be at least 1s"))]
pub struct Recheck {
    /// How often, at most, a refresh asks.
    #[serde(default = "Recheck::default_every")]
    pub every: GepDuration,
    /// How long the identity provider's outage is tolerated.
    #[serde(default = "Recheck::default_tolerate")]
    pub tolerate: GepDuration,
}

impl Recheck {
    const fn default_every() -> GepDuration {
        GepDuration::from_secs(6 * 3600)
    }

    const fn default_tolerate() -> GepDuration {
        GepDuration::from_secs(24 * 3600)
    }
}

impl Default for Recheck {
    fn default() -> Self {
        Self { every: Self::default_every(), tolerate: Self::default_tolerate() }
    }
}
