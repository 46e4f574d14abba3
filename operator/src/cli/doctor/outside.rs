//! Who gets to the server's hosts from elsewhere: vendors' clouds call from the internet, over IPv4.

use std::net::{IpAddr, Ipv4Addr};

use url::Url;

use super::{
    finding::{Check, Client},
    issuer::Issuer,
    visit::Visit,
};

/// Those that read no metadata of another host that is inside: vendors' clouds cannot, and rmcp will not, of which both
/// others are made.
const NOT_INSIDE: &[Client] = &[Client::ClaudeAi, Client::ChatGpt, Client::Codex, Client::RustSdk];

/// Judges the host of the MCP endpoint.
pub(super) async fn endpoint(visit: &mut Visit) {
    if is_loopback(&visit.url) {
        // Who asks so tries something on their own machine, and knows.
        visit.report.note(
            Check::Reach,
            Client::CLOUD,
            format!("{} is this machine: claude.ai and ChatGPT call from their vendors' clouds and cannot connect to it.", host(&visit.url)),
            "If they are to connect, serve it at a public https address.",
        );
        return;
    }
    let Some(outside) = look_up(&visit.url).await else { return };
    visit.report.fault(
        Check::Reach,
        Client::CLOUD,
        format!("{} {outside}: claude.ai and ChatGPT call from the internet, over IPv4, and cannot connect.", host(&visit.url)),
        "If they are to connect, give the host a public A record. If public DNS says something else than the resolver of this machine, ask from outside.",
    );
}

/// Judges the hosts of the authorization server's addresses, as far as they are others. The sign-in page is not among them:
/// the user's browser opens it.
pub(super) async fn endpoints(visit: &mut Visit, issuer: &Issuer) {
    let urls = [Some(&issuer.place), issuer.registration_endpoint.as_ref(), issuer.token_endpoint.as_ref()];
    let mut seen = vec![host(&visit.url)];
    for url in urls.into_iter().flatten() {
        let name = host(url);
        if seen.contains(&name) || (is_loopback(url) && is_loopback(&visit.url)) {
            continue;
        }
        let Some(outside) = look_up(url).await else { continue };
        let clients = match outside {
            Outside::Private(_) if *url == issuer.place => NOT_INSIDE,
            _ => Client::CLOUD,
        };
        visit.report.fault(
            Check::Reach,
            clients,
            format!("{name} of the authorization server {outside}: clients that call from elsewhere cannot connect to it."),
            "Give the authorization server a public host with an A record, and name that in the metadata.",
        );
        seen.push(name);
    }
}

/// Why a host is not reached from the internet over IPv4.
#[derive(Debug, PartialEq, Eq)]
enum Outside {
    /// It has addresses of a network of its own.
    Private(Vec<IpAddr>),
    /// It has none of IPv4.
    Ipv6Only(Vec<IpAddr>),
}

impl std::fmt::Display for Outside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list = |found: &[IpAddr]| found.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Private(found) => write!(f, "leads to {}, which only this network reaches", list(found)),
            Self::Ipv6Only(found) => write!(f, "has addresses of IPv6 alone ({})", list(found)),
        }
    }
}

async fn look_up(url: &Url) -> Option<Outside> {
    let port = url.port_or_known_default().unwrap_or(443);
    // What has no address is told where it is asked.
    let found = tokio::net::lookup_host((host(url), port)).await.ok()?;
    judge(found.map(|address| address.ip().to_canonical()).collect())
}

fn judge(mut found: Vec<IpAddr>) -> Option<Outside> {
    found.sort_unstable();
    found.dedup();
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(IpAddr::is_ipv4);
    let counts = if v4.is_empty() { &v6 } else { &v4 };
    let private: Vec<_> = counts.iter().copied().filter(|address| is_private(*address)).collect();
    if !private.is_empty() {
        return Some(Outside::Private(private));
    }
    (v4.is_empty() && !v6.is_empty()).then_some(Outside::Ipv6Only(v6))
}

/// A URL's host, without the brackets of IPv6.
pub(super) fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned()
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

/// Whether an address is of this machine or of a network of its own.
fn is_private(address: IpAddr) -> bool {
    // RFC 6598: what carriers share.
    let shared = |ip: Ipv4Addr| ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
    match address {
        IpAddr::V4(ip) => {
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared(ip)
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_of_ipv4_are_reached_from_outside() {
        let judge =
            |found: &[&str]| judge(found.iter().map(|a| a.parse().unwrap()).collect()).map(|o| o.to_string());
        assert_eq!(judge(&["203.0.113.7"]), None);
        assert_eq!(judge(&["203.0.113.7", "2001:db8::1", "fd00::1"]), None, "IPv6 beside it does no harm");
        assert_eq!(judge(&["2001:db8::1"]).unwrap(), "has addresses of IPv6 alone (2001:db8::1)");
        for inside in ["10.0.0.1", "100.64.0.1", "169.254.1.1", "192.168.0.1", "fd00::1", "fe80::1"] {
            assert_eq!(
                judge(&[inside]).unwrap(),
                format!("leads to {inside}, which only this network reaches")
            );
        }
        assert!(judge(&["10.0.0.1", "203.0.113.7"]).is_some(), "one of them is taken by chance");
        assert_eq!(judge(&[]), None);
    }
}
