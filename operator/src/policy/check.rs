//! What of a policy cannot work, whatever server it is for. The CRD refuses all of this; a policy that an older one let
//! in is told of it in its status, and what is wrong with one client refuses that client alone.

use gatehouse_gateway_config::policy::is_dangerous_scheme;
use url::Url;

use crate::crd::{
    OAuthClientPolicySpec,
    condition::{Problem, Reason},
    policy_client::StaticClient,
};

/// The parameters of the answer, which an address must not bring along.
const RESERVED: [&str; 4] = ["code", "state", "iss", "error"];

/// Everything that is wrong with a policy.
pub fn problems(spec: &OAuthClientPolicySpec) -> Vec<Problem> {
    let allowed = spec.redirect_uris.iter().flat_map(|uris| &uris.allow).enumerate();
    let allowed = allowed.filter_map(|(n, uri)| {
        let why = bad_pattern(uri)?;
        Some(Problem::accepted(Reason::Invalid, format!("spec.redirectUris.allow[{n}]"), why))
    });
    let clients = spec.clients.iter().enumerate().flat_map(|(index, c)| of_client(index, c));
    allowed.chain(clients).collect()
}

/// What is wrong with the client at this index.
pub fn of_client(index: usize, client: &StaticClient) -> Vec<Problem> {
    let bad = client.redirect_uris.iter().enumerate().filter_map(|(n, uri)| {
        let why = bad_address(uri)?;
        Some(Problem::accepted(Reason::Invalid, format!("spec.clients[{index}].redirectUris[{n}]"), why))
    });
    bad.collect()
}

/// Why a pattern of `redirectUris.allow` admits more than an address of somebody's, or nothing.
fn bad_pattern(pattern: &str) -> Option<&'static str> {
    let Some(prefix) = pattern.strip_suffix("/*") else { return bad_address(pattern) };
    let path = prefix.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    let good = path.is_some_and(|(host, path)| !host.is_empty() && !path.is_empty()) && !prefix.contains('?');
    if good { bad_address(prefix) } else { Some("before /* there must be a host and a path, and no query") }
}

/// Why codes cannot be sent to an address.
fn bad_address(uri: &str) -> Option<&'static str> {
    let (scheme, rest) = uri.split_once(':')?;
    let parsed = Url::parse(uri).ok();
    let host = rest.strip_prefix("//").map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    let name = host.map(|host| match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    });
    let good = match name {
        Some(name) => scheme != "http" || matches!(name, "localhost" | "127.0.0.1" | "[::1]"),
        None => scheme.contains('.') && rest.starts_with('/'),
    };
    if !good || is_dangerous_scheme(scheme) || parsed.is_none() {
        let why = "takes https, http on loopback, and schemes of applications; never one that a browser runs or opens \
                   itself";
        return Some(why);
    }
    let reserved = parsed.iter().flat_map(Url::query_pairs).any(|(name, _)| RESERVED.contains(&&*name));
    reserved.then_some("must not have code, state, iss or error in its query: the answer has them")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_and_patterns_that_an_older_schema_let_in_are_found() {
        for (uri, fine) in [
            ("https://ci.example.com/cb", true),
            ("http://localhost:80/cb", true),
            ("http://127.0.0.1/cb", true),
            ("http://[::1]:80/cb", true),
            ("cursor://x/cb", true),
            ("com.example.app:/cb", true),
            ("app:/cb", false),
            ("http://ci.example.com/cb", false),
            ("http://localhost.example.com/cb", false),
            ("http://localhost:80@evil.example.com/cb", false),
            ("javascript://x/%0aalert(1)", false),
            ("file:///etc/passwd", false),
            ("https://ci.example.com/cb?x=y", true),
            ("https://ci.example.com/cb?%63ode=y", false),
        ] {
            assert_eq!(bad_address(uri).is_none(), fine, "{uri}");
            assert_eq!(bad_pattern(uri).is_none(), fine, "{uri}");
        }
        for (pattern, fine) in [
            ("https://h.example.com/cb/*", true),
            ("https://*", false),
            ("https://h.example.com/*", false),
            ("https://h.example.com/cb?x=/*", false),
            ("http://h.example.com/cb/*", false),
        ] {
            assert_eq!(bad_pattern(pattern).is_none(), fine, "{pattern}");
        }
    }

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
