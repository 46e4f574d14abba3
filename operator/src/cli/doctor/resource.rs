//! The protected-resource document: RFC 9728.

use bytes::Bytes;
use http::{HeaderName, Method};
use serde_json::{Map, Value};
use url::Url;

use super::{
    challenge::Challenge,
    document::{nulls_and_blanks, object, report_mark, short},
    finding::{Check, Client},
    instead::Instead,
    outside::host,
    visit::Visit,
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

/// What the document says.
pub(super) struct Resource {
    /// Where it is.
    pub(super) place: Url,
    /// What it is about.
    pub(super) name: String,
    /// The authorization server that it names first.
    pub(super) issuer: String,
}

/// What the document says; `None` when there is no telling.
pub(super) async fn check(visit: &mut Visit, challenge: &Challenge) -> Option<Resource> {
    let path = visit.url.path().trim_end_matches('/').to_owned();
    let at = |path: &str| visit.url.join(path).ok();
    let inserted = at(&format!("{WELL_KNOWN}{path}"))?;
    let root = at(WELL_KNOWN)?;
    let mut places: Vec<Url> = challenge.resource_metadata.clone().into_iter().collect();
    let well_known = [inserted.clone(), root];
    for place in &well_known {
        if !places.contains(place) {
            places.push(place.clone());
        }
    }
    let mut found: Option<(Map<String, Value>, Url)> = None;
    let mut missing: Option<(Instead, Url)> = None;
    // Whether it is where clients look that read no challenge.
    let mut guessed = false;
    for place in places {
        let answer = visit.ask(Method::GET, &place, &version("2025-11-25"), Bytes::new()).await;
        match object(answer) {
            Ok((document, answer)) => {
                report_mark(visit, Check::Resource, WHAT, &answer);
                guessed |= well_known.contains(&place);
                found = found.or(Some((document, place)));
            }
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
        if let Some((instead, place)) = missing.filter(|_| !visit.report.blames(Check::Resource)) {
            absent(visit, &instead, &place).await;
        }
        return None;
    };
    if !guessed && !challenge.unread.is_empty() {
        visit.report.fault(
            Check::Resource,
            challenge.unread,
            format!("{WHAT} is at {place} alone, which these clients do not learn from the challenge as it is written."),
            format!("Mend the challenge, and serve the document at {inserted} too."),
        );
    }
    old_version(visit, &place).await;
    read(visit, &document, place)
}

/// There is no document where clients look.
async fn absent(visit: &mut Visit, instead: &Instead, place: &Url) {
    if let Some(place) = below_a_prefix(visit).await {
        let prefix = place.path().split("/.well-known").next().unwrap_or_default().to_owned();
        visit.report.fault(
            Check::Resource,
            Client::ALL,
            format!("{WHAT} is at {place} alone: the proxy in front takes {prefix} off the path, so the server does not know its own URL. Clients look at the root of the host."),
            format!("Give the server a host of its own; or do not rewrite its path, let its URL (spec.url) have {prefix}, and route /.well-known/ of the host to it."),
        );
        return;
    }
    let origin = visit.url.join("/.well-known/oauth-authorization-server");
    if let Ok(origin) = origin
        && object(visit.get(&origin).await).is_ok()
    {
        visit.report.warn(
            Check::Resource,
            format!("there is no protected-resource document: clients take {origin} for the authorization server's, as the specification of 2025-03-26 has it."),
            "Serve one (RFC 9728): the newer specifications demand it, and it says for whom a token is.",
        );
        return;
    }
    instead.report(visit, Check::Resource, Client::ALL, WHAT, place);
}

/// Where the document is when a proxy strips the first parts of the path.
async fn below_a_prefix(visit: &mut Visit) -> Option<Url> {
    let path = visit.url.path().trim_end_matches('/').to_owned();
    let parts: Vec<usize> = path.match_indices('/').map(|(at, _)| at).skip(1).collect();
    for at in parts {
        let (prefix, rest) = path.split_at(at);
        for place in [format!("{prefix}{WELL_KNOWN}{rest}"), format!("{prefix}{WELL_KNOWN}")] {
            let place = visit.url.join(&place).ok()?;
            if object(visit.get(&place).await).is_ok() {
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
    let answer = visit.ask(Method::GET, place, &version("2024-11-05"), Bytes::new()).await;
    if let Err(instead) = object(answer) {
        let what = "the protected-resource document, asked for with MCP-Protocol-Version: 2024-11-05,";
        instead.report(visit, Check::Resource, &[Client::Codex, Client::RustSdk], what, place);
    }
}

fn read(visit: &mut Visit, document: &Map<String, Value>, place: Url) -> Option<Resource> {
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
    Some(Resource { name: resource.to_owned(), issuer: issuer.to_owned(), place })
}

/// Whether the resource is what the user typed: RFC 9728 section 3.3, and what clients make of it.
fn matches(visit: &mut Visit, resource: &str) {
    let Visit { report, url, .. } = visit;
    let shown = short(resource);
    let parsed = Url::parse(resource).ok();
    if parsed.as_ref() == Some(url) {
        return;
    }
    if let Some((why, mend)) = parsed.as_ref().and_then(|named| other_origin(named, url)) {
        report.fault(
            Check::Resource,
            Client::ALL,
            format!("{WHAT} is about {shown}, not about {url}: {why}."),
            mend,
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

/// What differs between two origins, if they are not the same, and what that comes from.
fn other_origin(named: &Url, url: &Url) -> Option<(&'static str, &'static str)> {
    const OWN: &str = "The server does not know its public URL: behind a proxy it must say what clients ask for, not what it listens on. Gatehouse takes it from spec.url.";
    if named.origin() == url.origin() {
        return None;
    }
    let bare = |url: &Url| host(url).trim_start_matches("www.").to_owned();
    Some(if host(named) == host(url) && named.scheme() != url.scheme() {
        ("one is https and the other is not", OWN)
    } else if host(named) == host(url) {
        ("the port differs", OWN)
    } else if bare(named) == bare(url) {
        (
            "the host differs, as behind a redirect from the bare to the www host",
            "Put the host that finally answers into spec.url, and give that URL to clients.",
        )
    } else {
        (
            "the host differs",
            "Give clients the URL that the document names, if that is the server's public one; else the server must be told its public URL (Gatehouse: spec.url).",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_two_origins_is_said() {
        let url = Url::parse("https://h.test/mcp").unwrap();
        for (named, words) in [
            ("http://h.test/mcp", "https"),
            ("https://h.test:8443/mcp", "port"),
            ("https://www.h.test/mcp", "www"),
            ("https://other.test/mcp", "the host differs"),
        ] {
            let (why, _) = other_origin(&Url::parse(named).unwrap(), &url).unwrap();
            assert!(why.contains(words), "{named}: {why}");
        }
        assert_eq!(other_origin(&Url::parse("https://h.test:443/").unwrap(), &url), None);
    }
}
