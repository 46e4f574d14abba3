//! The protected-resource document: RFC 9728.

use http::{HeaderName, Method};
use serde_json::{Map, Value};
use url::Url;

use super::{
    Visit,
    challenge::Challenge,
    document::{Instead, nulls_and_blanks, object, short},
    finding::{Check, Client},
};

const WHAT: &str = "the protected-resource document";
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
/// Clients that accept nothing but the URL that the user typed.
const EXACT: &[Client] = &[Client::VsCode];
/// Clients that refuse a slash too many.
const NO_EXTRA_SLASH: &[Client] = &[
    Client::ClaudeCode,
    Client::Codex,
    Client::TypescriptSdk,
    Client::McpRemote,
    Client::VsCode,
    Client::Browser,
];

/// The issuer that the document names, and the resource; `None` when there is no telling.
pub(super) async fn check(visit: &mut Visit, challenge: &Challenge) -> Option<(String, String)> {
    let path = visit.url.path().trim_end_matches('/').to_owned();
    let at = |path: &str| visit.url.join(path).ok();
    let inserted = at(&format!("{WELL_KNOWN}{path}"))?;
    let root = at(WELL_KNOWN)?;
    let mut places: Vec<Url> = challenge.resource_metadata.clone().into_iter().collect();
    for place in [inserted.clone(), root] {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let mut found: Option<(Map<String, Value>, Url)> = None;
    let mut missing: Option<(Instead, Url)> = None;
    for place in places {
        let answer = visit.http.send(Method::GET, &place, &version("2025-11-25"), bytes::Bytes::new()).await;
        match object(answer) {
            Ok((document, _)) => found = found.or(Some((document, place))),
            Err(instead) if instead.is_absent() => {
                if place == inserted && found.is_some() {
                    visit.report.warn(
                        Check::Resource,
                        format!("{WHAT} is not at {place}, where `claude mcp login` looks first."),
                        "Serve it there too.",
                    );
                }
                missing = missing.or(Some((instead, place)));
            }
            Err(instead) => instead.report(visit, Check::Resource, Client::ALL, WHAT, &place),
        }
    }
    let Some((document, place)) = found else {
        if visit.report.blames(Check::Resource) {
            return None;
        }
        if let Some(place) = below_a_prefix(visit).await {
            let prefix = place.path().split("/.well-known").next().unwrap_or_default().to_owned();
            visit.report.fault(
                Check::Resource,
                Client::ALL,
                format!("{WHAT} is at {place} alone: the proxy in front takes {prefix} off the path, so the server does not know its own URL. Clients look at the root of the host."),
                format!("Give the server a host of its own; or do not rewrite its path, let its URL (spec.url) have {prefix}, and route /.well-known/ of the host to it."),
            );
            return None;
        }
        if let Some((instead, place)) = missing {
            instead.report(visit, Check::Resource, Client::ALL, WHAT, &place);
        }
        return None;
    };
    old_version(visit, &place).await;
    read(visit, &document, &place)
}

/// Where the document is when a proxy strips the first parts of the path.
async fn below_a_prefix(visit: &Visit) -> Option<Url> {
    let path = visit.url.path().trim_end_matches('/');
    let parts: Vec<usize> = path.match_indices('/').map(|(at, _)| at).skip(1).collect();
    for at in parts {
        let (prefix, rest) = path.split_at(at);
        for place in [format!("{prefix}{WELL_KNOWN}{rest}"), format!("{prefix}{WELL_KNOWN}")] {
            let place = visit.url.join(&place).ok()?;
            if object(visit.http.get(&place).await).is_ok() {
                return Some(place);
            }
        }
    }
    None
}

fn version(value: &str) -> [(HeaderName, &str); 1] {
    [(HeaderName::from_static("mcp-protocol-version"), value)]
}

/// The Rust SDK asks with the oldest version that it knows.
async fn old_version(visit: &mut Visit, place: &Url) {
    let answer = visit.http.send(Method::GET, place, &version("2024-11-05"), bytes::Bytes::new()).await;
    if let Err(instead) = object(answer) {
        let what = "the protected-resource document, asked for with MCP-Protocol-Version: 2024-11-05,";
        instead.report(visit, Check::Resource, &[Client::Codex, Client::RustSdk], what, place);
    }
}

fn read(visit: &mut Visit, document: &Map<String, Value>, place: &Url) -> Option<(String, String)> {
    let report = &mut visit.report;
    let (nulls, _) = nulls_and_blanks(document);
    if !nulls.is_empty() {
        report.fault(
            Check::Resource,
            Client::STRICT,
            format!("{WHAT} at {place} has null for {}.", nulls.join(", ")),
            "Leave members out that have no value.",
        );
    }
    let Some(resource) = document.get("resource").and_then(Value::as_str) else {
        report.fault(
            Check::Resource,
            Client::ALL,
            format!("{WHAT} at {place} has no `resource`."),
            "Put the MCP URL there.",
        );
        return None;
    };
    matches(visit, resource);
    let report = &mut visit.report;
    let scopes = document.get("scopes_supported").and_then(Value::as_array);
    if scopes.is_some_and(|s| s.iter().any(|s| s == "offline_access")) {
        report.warn(
            Check::Resource,
            "scopes_supported of the resource names offline_access, which is the authorization server's matter.",
            "List it in the authorization server's metadata only.",
        );
    }
    let issuer = document.get("authorization_servers").and_then(|s| s.get(0)).and_then(Value::as_str);
    let Some(issuer) = issuer else {
        report.fault(
            Check::Resource,
            Client::ALL,
            format!("{WHAT} at {place} names no authorization server."),
            "authorization_servers is a list with at least one issuer.",
        );
        return None;
    };
    if !report.blames(Check::Resource) {
        report.good(Check::Resource, format!("{place} names {}", short(issuer)));
    }
    Some((issuer.to_owned(), resource.to_owned()))
}

/// Whether the resource is what the user typed: RFC 9728 section 3.3, and what clients make of it.
fn matches(visit: &mut Visit, resource: &str) {
    let Visit { report, url, .. } = visit;
    let shown = short(resource);
    let parsed = Url::parse(resource).ok();
    if parsed.as_ref() == Some(url) {
        return;
    }
    let same_origin = parsed.as_ref().is_some_and(|r| r.origin() == url.origin());
    if !same_origin {
        report.fault(
            Check::Resource,
            Client::ALL,
            format!("{WHAT} is about {shown}, not about {url}: the host differs, as behind a redirect from the bare to the www host."),
            "Put the host that finally answers into spec.url, and give that URL to clients.",
        );
    } else if resource.strip_suffix('/') == Some(url.as_str()) {
        report.fault(
            Check::Resource,
            NO_EXTRA_SLASH,
            format!("{WHAT} is about {shown}, with a slash more than {url}."),
            "Publish the URL without it.",
        );
    } else if parsed.is_some_and(|r| url.path().starts_with(r.path().trim_end_matches('/'))) {
        report.fault(
            Check::Resource,
            EXACT,
            format!("{WHAT} is about {shown}, of which {url} is a part: these clients want the very URL."),
            "Publish the URL of the MCP endpoint.",
        );
    } else {
        report.fault(
            Check::Resource,
            Client::ALL,
            format!("{WHAT} is about {shown}, not about {url}."),
            "Give clients the URL that the document names; or the proxy in front rewrites the path: it must not.",
        );
    }
}
