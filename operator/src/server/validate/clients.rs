//! The clients that the policy in force names: which of them can come to this server, and which Secrets they need. One
//! that cannot is left out, with a warning: the server and the others go on.

use gatehouse_gateway_config::{
    policy::{ClientGrant, StaticClientConfig},
    scope::IMPLICIT,
};

use super::Checks;
use crate::{
    crd::{OAuthClientPolicySpec, policy_client::StaticClient},
    policy::check::of_client,
};

/// The clients of the policy of this name that can come.
pub(super) fn check(
    checks: &mut Checks<'_>,
    policy: &str,
    spec: &OAuthClientPolicySpec,
) -> Vec<StaticClientConfig> {
    let clients = spec.clients.iter().enumerate();
    clients.filter_map(|(index, client)| one(checks, policy, index, client)).collect()
}

fn one(
    checks: &mut Checks<'_>,
    policy: &str,
    index: usize,
    client: &StaticClient,
) -> Option<StaticClientConfig> {
    let at = |field: &str| format!("OAuthClientPolicy \"{policy}\": {field}");
    let refused = format!("; client \"{}\" is refused", client.client_id);
    let problems = of_client(index, client);
    for problem in &problems {
        checks.warn(at(&problem.field), format!("{}{refused}", problem.message));
    }
    let mut config = client.config();
    if let Some(injected) =
        per_user(checks).filter(|_| config.grants.contains(&ClientGrant::ClientCredentials))
    {
        let message = format!(
            "client \"{}\" may not use client_credentials here: a backend gets credential \"{injected}\", which is each \
             user's own, and a robot has none; give this server a policy of its own without the robot, or a static \
             credential",
            config.client_id
        );
        checks.warn(at(&format!("spec.clients[{index}].grants")), message);
        config.grants.retain(|grant| *grant != ClientGrant::ClientCredentials);
    }
    let known = scopes_exist(checks, &config, &at(&format!("spec.clients[{index}].scopes")), &refused);
    if !problems.is_empty() || !known || config.grants.is_empty() {
        return None;
    }
    for (n, key) in config.secrets.iter().enumerate() {
        let held = checks.fetched.secrets.get(&key.name);
        if held.is_some_and(|held| held.contains(&key.key)) || checks.fetched.assume_refs {
            continue;
        }
        let message =
            format!("{key} does not exist: client \"{}\" cannot prove itself with it", config.client_id);
        checks.warn(at(&format!("spec.clients[{index}].secretRefs[{n}]")), message);
    }
    Some(config)
}

/// A credential that a backend gets and that is each user's own: a robot has no sign-in, so nothing could be injected.
fn per_user(checks: &Checks<'_>) -> Option<String> {
    let spec = &checks.server.spec;
    let own = |name: &str| spec.credentials.iter().any(|c| c.name == name && c.from_identity.is_some());
    let injected = spec.backends.iter().flat_map(|b| &b.inject).find(|inject| own(&inject.credential));
    injected.map(|inject| inject.credential.clone())
}

/// Whether the scopes that bind a client are scopes of this server: a name that is none would be one that nobody meant.
fn scopes_exist(checks: &mut Checks<'_>, client: &StaticClientConfig, field: &str, refused: &str) -> bool {
    let declared = checks.server.spec.scopes.iter().flatten().map(|scope| scope.name.as_str());
    let mut names: Vec<&str> = declared.collect();
    if names.is_empty() {
        names.push(IMPLICIT);
    }
    let unknown: Vec<&str> =
        client.scopes.iter().flatten().map(String::as_str).filter(|name| !names.contains(name)).collect();
    if unknown.is_empty() {
        return true;
    }
    let message = format!(
        "this server has no scope \"{}\"; it has {}{refused}",
        unknown.join("\" and \""),
        names.join(", ")
    );
    checks.warn(field, message);
    false
}
