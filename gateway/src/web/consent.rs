//! The consent page.

use askama::Template;
use gatehouse_gateway_config::{CredentialKind, IdentityConfig};

use super::{Day, Site};
use crate::{
    model::{Profile, RedirectUri, redirect_uri::Kind},
    server::Server,
};

/// Asks whether a client may act for the user. Never skipped.
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage<'a> {
    /// The server.
    pub site: &'a Site<'a>,
    /// What the client calls itself.
    pub client_name: &'a str,
    /// The host that vouches for it, when its id is the URL of a document.
    pub client_host: Option<String>,
    /// Its first letter.
    pub client_initial: String,
    /// Where the code goes, in full.
    pub redirect_uri: &'a str,
    /// Where the code goes, in words.
    pub destination: Destination,
    /// What the client will be able to do.
    pub abilities: Vec<Ability>,
    /// Who is signed in; at an identity provider nobody knows before it answers.
    pub user: Option<SignedInUser>,
    /// The day on which the user approved the same before.
    pub approved_before: Option<Day>,
    /// The identity provider's name.
    pub provider: String,
    /// "Allow" or "Continue with GitHub".
    pub approve_label: String,
    /// The approval.
    pub approve_link: String,
    /// The refusal.
    pub deny_link: String,
    /// Signs in as somebody else.
    pub other_account_link: String,
}

/// One thing that a client will be able to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// What.
    pub what: String,
    /// More about it.
    pub detail: Option<String>,
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedInUser {
    /// The name.
    pub name: String,
    /// The e-mail address.
    pub detail: Option<String>,
}

impl SignedInUser {
    /// What a profile tells of its user.
    pub fn of(profile: &Profile) -> Self {
        Self {
            name: profile.name.clone().unwrap_or_else(|| profile.subject.clone()),
            detail: profile.verified_email.clone(),
        }
    }
}

/// Where an approval leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// A short name of the place.
    pub place: String,
    /// What to look out for.
    pub warning: String,
}

impl Destination {
    /// Describes a redirect URI.
    pub fn of(uri: &RedirectUri, client_name: &str) -> Self {
        match uri.kind() {
            Kind::Https { host } => Self {
                place: host.clone(),
                warning: format!(
                    "Continue only if you started this yourself and trust {host}: it will receive the access that \
                     you approve."
                ),
            },
            Kind::Loopback { .. } | Kind::PlainHttp => Self {
                place: "A program on this computer".to_owned(),
                warning: format!(
                    "Continue only if you have just started this yourself, with {client_name} on this computer. \
                     If somebody sent you a link to this page, cancel."
                ),
            },
            Kind::Custom { scheme } => Self {
                place: format!("The app that opens {scheme}: links"),
                warning: format!(
                    "Continue only if you have just started this yourself, in {client_name}. If somebody sent you a \
                     link to this page, cancel."
                ),
            },
        }
    }
}

/// What an approved client can do on this server, in words: what its calls carry.
pub fn abilities(server: &Server, scope: &str) -> Vec<Ability> {
    let config = &server.config;
    let kind_of = |name: &str| config.credentials.iter().find(|c| c.name == name).map(|c| &c.kind);
    let injected: Vec<_> =
        config.backends.iter().flat_map(|b| &b.inject).filter_map(|i| kind_of(&i.credential)).collect();
    let mut abilities = asked(server, scope);
    let acts = injected.iter().any(|kind| matches!(kind, CredentialKind::FromIdentity));
    abilities.extend(upstream_account(&config.identity, acts));
    if injected.iter().any(|kind| matches!(kind, CredentialKind::Static(_))) {
        abilities
            .push(Ability { what: "Use a key that all users of this server share".to_owned(), detail: None });
    }
    let days = config.policy.lifetimes.refresh_token.as_secs().div_ceil(86_400);
    abilities.push(Ability {
        what: match days {
            1 => "Stay connected until unused for a day".to_owned(),
            days => format!("Stay connected until unused for {days} days"),
        },
        detail: None,
    });
    abilities
}

/// What the asked scopes are for; of a server without scopes, that it is everything.
fn asked(server: &Server, scope: &str) -> Vec<Ability> {
    let (config, name) = (&server.config, server.display_name());
    if config.scopes.is_empty() {
        return vec![Ability { what: format!("Use every tool of {name} as you"), detail: None }];
    }
    let gates = |scope: &String| {
        config.backends.iter().flat_map(|b| &b.tools.scopes).any(|rule| rule.scopes.contains(scope))
    };
    let asked = config.scopes.iter().filter(|s| scope.split(' ').any(|name| name == s.name));
    let asked = asked.map(|scope| Ability {
        what: scope.description.clone().unwrap_or_else(|| format!("Use {name} with \"{}\"", scope.name)),
        // No tool is kept for it, so it keeps nothing back.
        detail: (!gates(&scope.name)).then(|| "Everything your account allows.".to_owned()),
    });
    std::iter::once(Ability { what: format!("Use {name} as you"), detail: None }).chain(asked).collect()
}

/// What is asked of the account at the identity provider.
fn upstream_account(identity: &IdentityConfig, acts: bool) -> Option<Ability> {
    let scopes = match identity {
        IdentityConfig::Local(_) if acts => {
            let what = "Act with the token that is kept for you here".to_owned();
            return Some(Ability { what, detail: None });
        }
        IdentityConfig::Local(_) => return None,
        IdentityConfig::Oauth2(config) => &config.scopes,
        IdentityConfig::Oidc(config) => &config.scopes,
    };
    let name = identity.display_name();
    let what =
        if acts { format!("Act with your {name} account") } else { format!("Learn from {name} who you are") };
    let detail = (!scopes.is_empty()).then(|| format!("{name} permissions: {}", scopes.join(", ")));
    Some(Ability { what, detail })
}
