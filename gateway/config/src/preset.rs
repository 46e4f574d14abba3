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

/// How a client proves itself at a token endpoint (RFC 6749 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
}

/// What a provider keeps in lists beside the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lists {
    /// How each of them is read.
    pub pages: Pages,
    /// The addresses.
    pub emails: EmailList,
    /// What becomes groups.
    pub groups: GroupList,
}

/// How a list comes in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    /// The query that asks for pages of a hundred entries.
    pub query: &'static str,
    /// Where a page has its entries, a JSON pointer (RFC 6901); empty: the page is the list.
    pub entries: &'static str,
    /// Where a page has the address of the next one; absent: in its `Link` header (RFC 8288).
    pub next: Option<&'static str>,
    /// The header that names the scopes of the token. Absent: a missing scope is a status, never a shorter list.
    pub scopes: Option<&'static str>,
    /// The header by which an answer says that it leaves something out.
    pub partial: Option<&'static str>,
}

/// A list of addresses, each of them in the field `email` of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmailList {
    /// The scope that opens it.
    pub scope: &'static str,
    /// The field that says whether the address is verified.
    pub verified: &'static str,
    /// The field that says whether it is the primary one.
    pub primary: &'static str,
}

/// A list whose entries make groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupList {
    /// The scope that opens it.
    pub scope: &'static str,
    /// The groups of an entry: the JSON pointers of the parts of each name, between which a slash is put.
    pub names: &'static [&'static [&'static str]],
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

    /// How the client proves itself at the token endpoint. Source for GitHub: "Authorizing OAuth apps".
    pub fn client_auth(self) -> ClientAuth {
        match self {
            Self::GitHub => ClientAuth::Post,
        }
    }

    /// The values of `prompt` that the provider documents. Source for GitHub: "Authorizing OAuth apps".
    pub fn prompts(self) -> &'static [&'static str] {
        match self {
            Self::GitHub => &["select_account"],
        }
    }

    /// The lists that tell verified addresses and groups. Sources for GitHub: "REST API endpoints for emails", "REST API
    /// endpoints for teams", "Using pagination in the REST API", "Scopes for OAuth apps", and "Authorizing OAuth apps"
    /// for organisations behind a single sign-on.
    pub fn lists(self) -> Lists {
        match self {
            Self::GitHub => Lists {
                pages: Pages {
                    query: "per_page=100",
                    entries: "",
                    next: None,
                    scopes: Some("x-oauth-scopes"),
                    partial: Some("x-github-sso"),
                },
                emails: EmailList { scope: "user:email", verified: "verified", primary: "primary" },
                groups: GroupList {
                    scope: "read:org",
                    names: &[&["/organization/login"], &["/organization/login", "/slug"]],
                },
            },
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
