//! The clients that the policy in force names: what about them cannot work, and which Secrets they need.

use gatehouse_gateway_config::policy::{ClientGrant, StaticClientConfig, is_dangerous_scheme};

use super::Checks;
use crate::crd::condition::Reason;

/// Checks the clients of the policy of this name.
pub(super) fn check(checks: &mut Checks<'_>, policy: &str, clients: &[StaticClientConfig]) {
    for (index, client) in clients.iter().enumerate() {
        let at = |field: &str| format!("OAuthClientPolicy \"{policy}\": spec.clients[{index}].{field}");
        robot(checks, client, at("grants"));
        for (n, uri) in client.redirect_uris.iter().enumerate() {
            if !may_be_redirected_to(uri) {
                let why = "takes https, http on loopback, and schemes of applications; never one that a browser runs or \
                           opens itself";
                checks.invalid(at(&format!("redirectUris[{n}]")), why);
            }
        }
        for (n, key) in client.secrets.iter().enumerate() {
            let held = checks.fetched.secrets.get(&key.name);
            if held.is_some_and(|held| held.contains(&key.key)) || checks.fetched.assume_refs {
                continue;
            }
            let message =
                format!("{key} does not exist: client \"{}\" cannot prove itself with it", client.client_id);
            checks.warn(at(&format!("secretRefs[{n}]")), message);
        }
    }
}

/// A robot has no sign-in, so there is nothing that could be injected for it.
fn robot(checks: &mut Checks<'_>, client: &StaticClientConfig, field: String) {
    if !client.grants.contains(&ClientGrant::ClientCredentials) {
        return;
    }
    let spec = &checks.server.spec;
    let per_user = |name: &str| spec.credentials.iter().any(|c| c.name == name && c.from_identity.is_some());
    let injected = spec.backends.iter().flat_map(|b| &b.inject).find(|inject| per_user(&inject.credential));
    if let Some(inject) = injected {
        let message = format!(
            "client \"{}\" may not use client_credentials here: a backend gets credential \"{}\", which is each user's \
             own, and a robot has none; give this server a policy of its own without the robot, or a static credential",
            client.client_id, inject.credential
        );
        checks.accepted(Reason::Invalid, field, message);
    }
}

fn may_be_redirected_to(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once("://") else { return false };
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    !is_dangerous_scheme(scheme) && (scheme != "http" || matches!(name, "localhost" | "127.0.0.1" | "[::1]"))
}
