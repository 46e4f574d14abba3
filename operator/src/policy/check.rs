//! What of a policy cannot work, whatever server it is for. The CRD refuses most of this; what it let in is told of in the
//! policy's status, and what is wrong with one client refuses that client alone.

use gatehouse_gateway_config::redirect_uri::{RedirectUri, check_pattern};

use crate::crd::{
    OAuthClientPolicySpec,
    condition::{Problem, Reason},
    policy_client::StaticClient,
};

/// Everything that is wrong with a policy.
pub fn problems(spec: &OAuthClientPolicySpec) -> Vec<Problem> {
    let allowed = spec.redirect_uris.iter().flat_map(|uris| &uris.allow).enumerate();
    let allowed = allowed.filter_map(|(n, uri)| {
        let why = check_pattern(uri).err()?;
        Some(Problem::accepted(Reason::Invalid, format!("spec.redirectUris.allow[{n}]"), why.to_string()))
    });
    let clients = spec.clients.iter().enumerate().flat_map(|(index, c)| of_client(index, c));
    allowed.chain(clients).collect()
}

/// What is wrong with the client at this index.
pub fn of_client(index: usize, client: &StaticClient) -> Vec<Problem> {
    let bad = client.redirect_uris.iter().enumerate().filter_map(|(n, uri)| {
        let why = RedirectUri::parse_usable(uri).err()?.to_string();
        Some(Problem::accepted(Reason::Invalid, format!("spec.clients[{index}].redirectUris[{n}]"), why))
    });
    bad.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_problem_names_its_field() {
        let spec: OAuthClientPolicySpec = serde_json::from_value(json!({
            "targetRefs": [{ "selector": {} }],
            "redirectUris": { "allow": ["https://h.example.com/cb", "https://*"] },
            "clients": [{ "clientId": "a" }, { "clientId": "b", "redirectUris": ["file:///x"] }],
        }))
        .unwrap();
        let fields: Vec<String> = problems(&spec).into_iter().map(|p| p.field).collect();
        assert_eq!(fields, ["spec.redirectUris.allow[1]", "spec.clients[1].redirectUris[0]"]);
    }
}
