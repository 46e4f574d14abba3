//! Whether the URL leads to a server at all: its form, the name, the connection, TLS, redirects, the clock.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{Method, header};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use url::Url;

use super::{
    Visit,
    document::{Instead, is_html, other_than_success},
    finding::{Check, Client},
};
use crate::cli::http::Answer;

/// What a client posts first. Without a token, a server that wants one answers 401 whatever it says.
pub(super) const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"gatehouse-doctor","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}"#
);

/// How far two clocks may be apart before tokens that carry times stop working.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(60);

/// The answer to a first request without a token; `None` when there is nothing to go on with.
pub(super) async fn check(visit: &mut Visit) -> Option<Answer> {
    form(visit);
    let post = [(header::CONTENT_TYPE, "application/json")];
    let answer =
        visit.http.send(Method::POST, &visit.url, &post, Bytes::from_static(INITIALIZE.as_bytes())).await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            unreachable(visit, &why);
            return None;
        }
    };
    visit.report.good(Check::Reach, format!("{} answers", visit.url));
    from_outside(visit).await;
    clock(visit, &answer);
    let instead = other_than_success(&answer);
    if let Some(instead @ (Instead::Redirect(_) | Instead::Page(..))) = instead {
        // A 401 may have a page for a body: what counts is its challenge.
        if answer.headers.contains_key(header::WWW_AUTHENTICATE) {
            return Some(answer);
        }
        instead.report(visit, Check::Reach, Client::ALL, "the MCP endpoint", &visit.url.clone());
        return None;
    }
    if answer.status.is_success() && is_html(&answer.headers) {
        let page = Instead::page(&answer);
        page.report(visit, Check::Reach, Client::ALL, "the MCP endpoint", &visit.url.clone());
        return None;
    }
    Some(answer)
}

/// What is odd about the URL itself.
fn form(visit: &mut Visit) {
    let Visit { url, report, .. } = visit;
    if url.scheme() == "http" && !is_loopback(url) {
        report.fault(
            Check::Url,
            Client::ALL,
            format!("{url} is plain http: clients send tokens over https only, except to this machine."),
            "Put TLS in front and give clients the https URL.",
        );
    }
    if url.path() != "/" && url.path().ends_with('/') {
        report.warn(
            Check::Url,
            format!(
                "{url} ends with a slash: clients compare the URL letter by letter with what the server says."
            ),
            "Give clients the URL without it.",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        report.warn(
            Check::Url,
            format!("{url} has a query or a fragment, which clients keep or drop as they like."),
            "Give clients the URL without it.",
        );
    }
}

/// Whether a URL is about this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether clients that run in their vendor's cloud get there too.
async fn from_outside(visit: &mut Visit) {
    if is_loopback(&visit.url) {
        // Who asks so tries something on their own machine, and knows.
        return;
    }
    let port = visit.url.port_or_known_default().unwrap_or(443);
    let host = visit.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let Ok(found) = tokio::net::lookup_host((host.as_str(), port)).await else { return };
    let inside: Vec<_> = found.map(|a| a.ip()).filter(|a| is_inside(*a)).map(|a| a.to_string()).collect();
    if !inside.is_empty() {
        visit.report.warn(
            Check::Reach,
            format!("{host} leads to {}, which only this network reaches: claude.ai and ChatGPT call from the internet and cannot connect.", inside.join(", ")),
            "If they are to connect, give the host a public record and address. If public DNS says something else than the resolver of this machine, ask from outside.",
        );
    }
}

/// Whether an address is of this machine or of a network of its own.
fn is_inside(address: IpAddr) -> bool {
    // RFC 6598: what carriers share.
    let shared = |ip: Ipv4Addr| ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared(ip)
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

fn unreachable(visit: &mut Visit, why: &str) {
    let lower = why.to_ascii_lowercase();
    let has = |part: &str| lower.contains(part);
    let (check, mend) = if has("unknownissuer") {
        (
            Check::Tls,
            "The certificate is self-signed, of a private CA, or sent without its intermediate certificate (browsers fetch that, programs do not). Serve the full chain. For a private CA every client must be told to trust it (NODE_EXTRA_CA_CERTS, SSL_CERT_FILE); here: --ca FILE.",
        )
    } else if has("certificate expired") || has("notvalidyet") || has("not valid yet") {
        (Check::Tls, "Renew the certificate; or set the clock of this machine.")
    } else if has("not valid for") || has("notvalidforname") {
        (
            Check::Tls,
            "The certificate is another host's: the ingress has none for this host and serves its default. Add the host to the certificate (spec.tls of the Ingress, or a listener).",
        )
    } else if has("corrupt message") {
        (
            Check::Tls,
            "That port speaks plain HTTP, not TLS: the listener has no certificate, or something in front ends TLS on another port. Serve https there.",
        )
    } else if has("certificate") || has("handshake") || has("alert") {
        (
            Check::Tls,
            "Something on that port does not speak TLS as a public https server does: check the port and the listener.",
        )
    } else if has("dns") || has("lookup") || has("name or service not known") {
        (
            Check::Reach,
            "The name does not resolve here: add an A, AAAA or CNAME record of the host to the address of the Ingress or Gateway. Cloud clients (claude.ai, ChatGPT) need it in public DNS.",
        )
    } else if has("refused") {
        (
            Check::Reach,
            "Nothing listens there: is the server (or the port-forward) running, and is this the right port?",
        )
    } else {
        (
            Check::Reach,
            "A firewall, a wrong address, or a server that hangs. Cloud clients (claude.ai, ChatGPT) must reach it from the internet.",
        )
    };
    visit.report.fault(check, Client::ALL, why, mend);
}

fn clock(visit: &mut Visit, answer: &Answer) {
    let date = answer.headers.get(header::DATE).and_then(|v| v.to_str().ok());
    let Some(theirs) = date.and_then(|d| rfc2822::parse(d).ok()) else { return };
    let off = Timestamp::now().duration_since(theirs.timestamp());
    if off.abs() > CLOCK_TOLERANCE {
        visit.report.warn(
            Check::Clock,
            format!("the server's clock (or a cache in front of it) is {} seconds {} this machine's.", off.abs().as_secs(), if off.is_negative() { "ahead of" } else { "behind" }),
            "Set both by NTP: identity tokens and certificates are refused by their times. A cached answer of the MCP endpoint is wrong too: turn caching off.",
        );
    }
}
