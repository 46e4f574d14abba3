//! What an approved client can do, in words.

use gatehouse_gateway_config::{CredentialKind, IdentityConfig, policy::LifetimesConfig};

use super::span;
use crate::server::Server;

/// One thing that a client will be able to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// What.
    pub what: String,
    /// More about it.
    pub detail: Option<String>,
}

/// What an approved client can do on this server, in words: what its calls carry. `granted`: the scope is what the user
/// will grant; else it is what was asked for, of which not every user may grant all.
pub fn abilities(server: &Server, scope: &str, granted: bool) -> Vec<Ability> {
    let config = &server.config;
    let kind_of = |name: &str| config.credentials.iter().find(|c| c.name == name).map(|c| &c.kind);
    let injected: Vec<_> =
        config.backends.iter().flat_map(|b| &b.inject).filter_map(|i| kind_of(&i.credential)).collect();
    let mut abilities = asked(server, scope, granted);
    let acts = injected.iter().any(|kind| matches!(kind, CredentialKind::FromIdentity));
    abilities.extend(upstream_account(&config.identity, acts));
    if injected.iter().any(|kind| matches!(kind, CredentialKind::Static(_))) {
        abilities
            .push(Ability { what: "Use a key that all users of this server share".to_owned(), detail: None });
    }
    abilities.push(Ability { what: stays(&config.policy.lifetimes), detail: None });
    abilities
}

/// How long a client stays connected.
fn stays(lifetimes: &LifetimesConfig) -> String {
    let (unused, end) = (lifetimes.refresh_token, lifetimes.sign_in);
    if unused < end {
        format!("Stay connected until unused for {}, at most for {}", span(unused), span(end))
    } else {
        format!("Stay connected for {}", span(end))
    }
}

/// What the asked scopes are for. What nothing is kept back by is told, too: of a server without scopes, that it is every
/// tool; of one whose scopes no tool needs, that it is everything.
fn asked(server: &Server, scope: &str, granted: bool) -> Vec<Ability> {
    let (config, name) = (&server.config, server.display_name());
    if config.scopes.is_empty() {
        return vec![Ability { what: format!("Use every tool of {name} as you"), detail: None }];
    }
    let all = if config.backends.iter().all(|backend| backend.tools.scopes.is_empty()) {
        "Everything your account allows."
    } else {
        "Every tool but those that need a permission which is not in this list."
    };
    let asked = config.scopes.iter().filter(|s| scope.split(' ').any(|name| name == s.name));
    let asked = asked.map(|scope| Ability {
        what: scope.description.clone().unwrap_or_else(|| format!("Use {name} with \"{}\"", scope.name)),
        detail: (!granted && scope.allow.is_some()).then(|| "If your account may.".to_owned()),
    });
    let head = Ability { what: format!("Use {name} as you"), detail: Some(all.to_owned()) };
    std::iter::once(head).chain(asked).collect()
}

/// What is asked of the account at the identity provider.
fn upstream_account(identity: &IdentityConfig, acts: bool) -> Option<Ability> {
    let scopes = match identity {
        IdentityConfig::Local(_) if acts => {
            let what = "Act with the access that is stored for you here".to_owned();
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
