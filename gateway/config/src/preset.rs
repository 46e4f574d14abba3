//! What is known of identity providers, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::UserInfoConfig;

/// A provider that Gatehouse knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provider {
    /// GitHub, or a GitHub Enterprise Server.
    GitHub,
}

/// Texts in a tool's result that betray a dead token although the backend answered 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadToken {
    /// Each of them says it all.
    pub certain: &'static [&'static str],
    /// Words that say it in a result that is an error.
    pub in_errors: &'static [&'static str],
}

impl DeadToken {
    /// Nothing is looked for.
    pub const OF_NONE: Self = Self { certain: &[], in_errors: &[] };
    /// What backends write whatever the provider: the status and its reason (RFC 9110 section 15.5.2), and the error of
    /// RFC 6750 section 3.1.
    pub const OF_ANY: Self = Self {
        certain: &[],
        in_errors: &["401", "Unauthorized", "unauthorized", "invalid_token", "Bad credentials"],
    };
}

/// The endpoints of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// The authorization endpoint.
    pub authorization_url: String,
    /// The token endpoint.
    pub token_url: String,
    /// Where the profile is read.
    pub user_info: UserInfoConfig,
}

impl Provider {
    /// The name that users read.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
        }
    }

    /// The endpoints. `base_url` is that of a self-hosted installation (GitHub Enterprise Server), without a slash at
    /// its end; absent: the public service. Sources: GitHub's "Authorizing OAuth apps" and REST API reference.
    pub fn endpoints(self, base_url: Option<&str>) -> Endpoints {
        match self {
            Self::GitHub => {
                let web = base_url.unwrap_or("https://github.com");
                let api =
                    base_url.map_or_else(|| "https://api.github.com".to_owned(), |b| format!("{b}/api/v3"));
                Endpoints {
                    authorization_url: format!("{web}/login/oauth/authorize"),
                    token_url: format!("{web}/login/oauth/access_token"),
                    user_info: UserInfoConfig {
                        url: format!("{api}/user"),
                        subject: "/id".to_owned(),
                        name: Some("/login".to_owned()),
                        email: None,
                        email_verified: None,
                        groups: None,
                        emails_url: Some(format!("{api}/user/emails")),
                        teams_url: Some(format!("{api}/user/teams")),
                    },
                }
            }
        }
    }

    /// The scope that the provider wants before it tells verified e-mail addresses.
    pub fn email_scope(self) -> &'static str {
        match self {
            Self::GitHub => "user:email",
        }
    }

    /// The scope that the provider wants before it tells groups.
    pub fn groups_scope(self) -> &'static str {
        match self {
            Self::GitHub => "read:org",
        }
    }

    /// Whether a token with the scope `granted` may do what `wanted` stands for. Source for GitHub: "Scopes for OAuth
    /// apps".
    pub fn implies(self, granted: &str, wanted: &str) -> bool {
        match self {
            Self::GitHub => {
                granted == wanted
                    || matches!(
                        (granted, wanted),
                        ("user", "user:email") | ("write:org" | "admin:org", "read:org")
                    )
            }
        }
    }

    /// Whether `client_id` is of a kind whose tokens ignore scopes (a GitHub App: its permissions are the app's).
    pub fn ignores_scopes(self, client_id: &str) -> bool {
        match self {
            Self::GitHub => client_id.starts_with("Iv"),
        }
    }

    /// How long after a refresh the provider still accepts the old refresh token.
    pub fn refresh_leeway(self) -> Duration {
        match self {
            Self::GitHub => Duration::ZERO,
        }
    }

    /// What betrays a dead token of this provider.
    pub fn dead_token(self) -> DeadToken {
        match self {
            Self::GitHub => {
                DeadToken { certain: &["Bad credentials", "401 Unauthorized"], ..DeadToken::OF_ANY }
            }
        }
    }
}
