//! What is known of identity providers, as data.

use serde::{Deserialize, Serialize};

use crate::UserInfoConfig;

/// A provider that Gatehouse knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Provider {
    /// GitHub, or a GitHub Enterprise Server.
    GitHub,
    /// Atlassian's cloud: Jira, Confluence and the rest of what api.atlassian.com serves.
    Atlassian,
    /// Bitbucket Cloud, whose authorization server is its own.
    Bitbucket,
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
            Self::Atlassian => "Atlassian",
            Self::Bitbucket => "Bitbucket",
        }
    }

    /// The endpoints. `base_url` is that of a self-hosted installation (GitHub Enterprise Server alone), without a slash
    /// at its end; absent: the public service.
    ///
    /// Sources: GitHub's "Authorizing OAuth apps" and REST API reference. Atlassian's "OAuth 2.0 (3LO) apps", whose User
    /// Identity API tells an address and not whether it is verified. Bitbucket's "OAuth 2.0" and its REST API reference
    /// ("Users" and, since it withdrew the older lists of workspaces, CHANGE-2770, "Workspaces").
    pub fn endpoints(self, base_url: Option<&str>) -> Endpoints {
        let info = |url: String, subject: &str, name: &str| UserInfoConfig {
            url,
            subject: subject.to_owned(),
            name: Some(name.to_owned()),
            email: None,
            email_verified: None,
            groups: None,
            emails_url: None,
            teams_url: None,
        };
        match self {
            Self::GitHub => {
                let web = base_url.unwrap_or("https://github.com");
                let api =
                    base_url.map_or_else(|| "https://api.github.com".to_owned(), |b| format!("{b}/api/v3"));
                Endpoints {
                    authorization_url: format!("{web}/login/oauth/authorize"),
                    token_url: format!("{web}/login/oauth/access_token"),
                    user_info: UserInfoConfig {
                        emails_url: Some(format!("{api}/user/emails")),
                        teams_url: Some(format!("{api}/user/teams")),
                        ..info(format!("{api}/user"), "/id", "/login")
                    },
                }
            }
            Self::Atlassian => Endpoints {
                authorization_url: "https://auth.atlassian.com/authorize".to_owned(),
                token_url: "https://auth.atlassian.com/oauth/token".to_owned(),
                user_info: info("https://api.atlassian.com/me".to_owned(), "/account_id", "/name"),
            },
            Self::Bitbucket => {
                let api = "https://api.bitbucket.org/2.0";
                Endpoints {
                    authorization_url: "https://bitbucket.org/site/oauth2/authorize".to_owned(),
                    token_url: "https://bitbucket.org/site/oauth2/access_token".to_owned(),
                    user_info: UserInfoConfig {
                        emails_url: Some(format!("{api}/user/emails")),
                        teams_url: Some(format!("{api}/user/workspaces")),
                        ..info(format!("{api}/user"), "/uuid", "/display_name")
                    },
                }
            }
        }
    }

    /// Parameters without which the provider's authorization endpoint does not do. Source: Atlassian's "OAuth 2.0 (3LO)
    /// apps", which requires both.
    pub fn parameters(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Atlassian => &[("audience", "api.atlassian.com"), ("prompt", "consent")],
            Self::GitHub | Self::Bitbucket => &[],
        }
    }

    /// How the client proves itself at the token endpoint. Sources: GitHub's "Authorizing OAuth apps" and Atlassian's
    /// "Implementing OAuth 2.0 (3LO)" have the secret in the body (Atlassian shows it as JSON, and takes the form of RFC
    /// 6749, which django-allauth and better-auth send it; the secret is all that counts there, it does not look at the
    /// PKCE verifier); Bitbucket's "OAuth 2.0" has HTTP Basic.
    pub fn client_auth(self) -> ClientAuth {
        match self {
            Self::GitHub | Self::Atlassian => ClientAuth::Post,
            Self::Bitbucket => ClientAuth::Basic,
        }
    }

    /// The values of `prompt` that may be asked for. Sources: GitHub's "Authorizing OAuth apps"; Atlassian's page of
    /// consent comes in any case ([`Provider::parameters`]); Bitbucket documents none.
    pub fn prompts(self) -> &'static [&'static str] {
        match self {
            Self::GitHub => &["select_account"],
            Self::Atlassian | Self::Bitbucket => &[],
        }
    }

    /// The lists that tell verified addresses and groups; `None`: the provider tells neither. Sources:
    ///
    /// - GitHub's "REST API endpoints for emails", "REST API endpoints for teams", "Using pagination in the REST API",
    ///   "Scopes for OAuth apps", and "Authorizing OAuth apps" for organisations behind a single sign-on.
    /// - Bitbucket's REST API reference ("Users", "Workspaces") and "Scopes for the Bitbucket Cloud REST API". It answers
    ///   403 where a scope is missing.
    pub fn lists(self) -> Option<Lists> {
        match self {
            Self::GitHub => Some(Lists {
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
            }),
            Self::Atlassian => None,
            Self::Bitbucket => Some(Lists {
                pages: Pages {
                    query: "pagelen=100",
                    entries: "/values",
                    next: Some("/next"),
                    scopes: None,
                    partial: None,
                },
                emails: EmailList { scope: "email", verified: "is_confirmed", primary: "is_primary" },
                groups: GroupList { scope: "account", names: &[&["/workspace/slug"]] },
            }),
        }
    }

    /// The scope that the provider wants before it tells verified e-mail addresses; `None`: it never does.
    pub fn email_scope(self) -> Option<&'static str> {
        self.lists().map(|lists| lists.emails.scope)
    }

    /// The scope that the provider wants before it tells groups; `None`: it never does.
    pub fn groups_scope(self) -> Option<&'static str> {
        self.lists().map(|lists| lists.groups.scope)
    }

    /// The scope without which the provider does not tell who signs in. Source: Atlassian's "OAuth 2.0 (3LO) apps".
    pub fn profile_scope(self) -> Option<&'static str> {
        match self {
            Self::Atlassian => Some("read:me"),
            // GitHub tells everybody's public profile; Bitbucket's scopes are not asked for.
            Self::GitHub | Self::Bitbucket => None,
        }
    }

    /// The scope without which there is no refresh token. Source: Atlassian's "Implementing the Refresh Token Flow".
    pub fn refresh_scope(self) -> Option<&'static str> {
        match self {
            Self::Atlassian => Some("offline_access"),
            Self::GitHub | Self::Bitbucket => None,
        }
    }

    /// Whether a token with the scope `granted` may do what `wanted` stands for. Source for GitHub: "Scopes for OAuth
    /// apps".
    pub fn implies(self, granted: &str, wanted: &str) -> bool {
        granted == wanted
            || self == Self::GitHub
                && matches!(
                    (granted, wanted),
                    ("user", "user:email") | ("write:org" | "admin:org", "read:org")
                )
    }

    /// What `client_id` is, when scopes that are asked for do nothing for its kind. Sources: GitHub's "Differences
    /// between GitHub Apps and OAuth apps"; Bitbucket's "OAuth 2.0", where scopes are the consumer's and the parameter is
    /// not supported.
    pub fn ignores_scopes(self, client_id: &str) -> Option<&'static str> {
        match self {
            Self::GitHub if client_id.starts_with("Iv") => Some(
                "a GitHub App, which ignores scopes: the permissions of the app decide; leave scopes out, or use an OAuth \
                 App",
            ),
            Self::GitHub | Self::Atlassian => None,
            Self::Bitbucket => Some(
                "an OAuth consumer at Bitbucket, where scopes that are asked for do nothing: the permissions of the consumer \
                 decide; leave scopes out",
            ),
        }
    }

    /// What betrays a dead token of this provider. Bitbucket's words for one that has ended are quoted in its issue
    /// "Access token expires immediately" (site/master 11512).
    pub fn dead_token(self) -> DeadToken {
        match self {
            Self::GitHub => {
                DeadToken { certain: &["Bad credentials", "401 Unauthorized"], ..DeadToken::OF_ANY }
            }
            Self::Atlassian => DeadToken::OF_ANY,
            Self::Bitbucket => DeadToken {
                certain: &["Access token expired. Use your refresh token to obtain a new access token."],
                ..DeadToken::OF_ANY
            },
        }
    }
}
