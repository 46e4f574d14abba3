//! `spec.url` and `spec.issuer`: canonical, allowed, and nobody else's (protocols, section 11).

use url::Url;

use super::{Checks, host};
use crate::crd::condition::Reason;

/// The path segments that are the gateway's own.
const OWN_SEGMENTS: [&str; 3] = ["oauth", "account", ".well-known"];

/// Checks both; the issuer, when nothing is wrong with it.
pub(super) fn check(checks: &mut Checks<'_>) -> Option<String> {
    let text = checks.server.spec.url.clone();
    let url = match canonical(&text) {
        Ok(url) => url,
        Err(why) => {
            checks.invalid("spec.url", format!("\"{}\" {why}", text.escape_debug()));
            return None;
        }
    };
    if let Some(why) = bad_path(&url) {
        checks.invalid("spec.url", format!("\"{text}\" {why}"));
        return None;
    }
    let issuer = checks.server.spec.issuer.clone().unwrap_or_else(|| url.origin().ascii_serialization());
    let prefix = text.strip_prefix(&issuer).is_some_and(|rest| rest.starts_with('/'));
    if !prefix || canonical(&issuer).is_err() {
        let origin = url.origin().ascii_serialization();
        checks.invalid(
            "spec.issuer",
            format!(
                "\"{}\" is neither the origin of spec.url ({origin}) nor a prefix of it that ends before a slash",
                issuer.escape_debug()
            ),
        );
        return None;
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    host_allowed(checks, &host);
    incumbents(checks, &issuer, &host);
    Some(issuer)
}

/// A URL that is written as its parser would write it, with nothing that OAuth does not want.
fn canonical(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("is not a URL: {e}"))?;
    let host = url.host_str().unwrap_or_default();
    if url.scheme() != "https" && !(url.scheme() == "http" && host::is_loopback(host)) {
        return Err("must be https; http is for localhost, 127.0.0.1 and [::1] only".to_owned());
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err("must not have a query, fragment or user name".to_owned());
    }
    let written = url.as_str();
    // The parser puts a slash after an origin; an issuer has none.
    if written != text && written.strip_suffix('/') != Some(text) {
        return Err(format!("is not canonical: write \"{}\"", written.trim_end_matches('/')));
    }
    Ok(url)
}

fn bad_path(url: &Url) -> Option<String> {
    let path = url.path();
    if path == "/" {
        return Some("must have a path, for example /mcp".to_owned());
    }
    for segment in path.split('/').skip(1) {
        if segment.is_empty() {
            return Some("must not have an empty path segment or a slash at its end".to_owned());
        }
        if segment.contains('%') {
            return Some("must not have an encoded character in its path".to_owned());
        }
        if OWN_SEGMENTS.contains(&segment) {
            return Some(format!(
                "must not have the path segment \"{segment}\": the gateway's own pages are there"
            ));
        }
    }
    None
}

fn host_allowed(checks: &mut Checks<'_>, host: &str) {
    let allow = &checks.config.hosts.allow;
    if allow.is_empty() || host::is_loopback(host) {
        return;
    }
    if allow.iter().any(|pattern| host::matches(pattern, host, &checks.namespace)) {
        return;
    }
    let shown: Vec<String> = allow.iter().map(|p| p.replace("{namespace}", &checks.namespace)).collect();
    let message = format!(
        "host \"{host}\" is not allowed in namespace \"{}\"; allowed: {} (hosts.allow of the operator's configuration)",
        checks.namespace,
        shown.join(", ")
    );
    checks.accepted(Reason::HostNotAllowed, "spec.url", message);
}

fn incumbents(checks: &mut Checks<'_>, issuer: &str, host: &str) {
    if let Some(holder) = checks.fetched.issuer_holder.clone() {
        let message = format!(
            "issuer \"{issuer}\" belongs to McpServer {holder}, which had it first; give this server a host of its own, \
             or an issuer with a path"
        );
        checks.accepted(Reason::IssuerConflict, "spec.issuer", message);
    }
    let shared = |pattern: &String| host::matches(pattern, host, &checks.namespace);
    if host::is_loopback(host) || checks.config.hosts.shared.iter().any(shared) {
        return;
    }
    if let Some(holder) = checks.fetched.host_holder.clone() {
        let message = format!(
            "host \"{host}\" belongs to namespace \"{}\", whose McpServer {holder} had it first; use another host, or ask \
             the operator's admin to list it in hosts.shared",
            holder.namespace
        );
        checks.accepted(Reason::HostConflict, "spec.url", message);
    }
}
