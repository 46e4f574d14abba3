//! Where a request comes from, for limits: the peer, or what trusted proxies say.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue},
    middleware::Next,
    response::Response,
};
use ipnet::IpNet;

use crate::app::App;

/// The client's address; unknown when the connection does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(pub Option<IpAddr>);

impl std::fmt::Display for Source {
    /// An IPv6 client holds a whole /64, so that is what is counted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            None => f.write_str("unknown"),
            Some(IpAddr::V4(ip)) => ip.fmt(f),
            Some(IpAddr::V6(ip)) => Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX)).fmt(f),
        }
    }
}

impl Source {
    /// The client behind `peer`, as far as trusted proxies name it.
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        Self(Some(client_of(peer.to_canonical(), headers, trusted)))
    }

    /// The network that a site may choose its sources from: a /48 of IPv6, a /24 of IPv4.
    #[must_use]
    pub fn network(&self) -> Source {
        Self(self.0.map(|ip| match ip {
            IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !(u128::MAX >> 48)).into(),
            IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & !(u32::MAX >> 24)).into(),
        }))
    }
}

/// Puts the [`Source`] into the request's extensions.
pub async fn name_client(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let source = peer.map(|peer| Source::of(peer, request.headers(), &app.trusted_proxies));
    request.extensions_mut().insert(source.unwrap_or(Source(None)));
    next.run(request).await
}

/// The last address that a trusted proxy vouches for: `X-Forwarded-For` is read from its end, as long as what stands
/// there, and whoever wrote it, is a trusted proxy. What cannot be read ends it, and nothing further is believed: each
/// entry is looked at alone, for what a client sent stands on the same line as what a proxy added.
fn client_of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|net| net.contains(ip));
    let mut client = peer;
    let lines: Vec<_> = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes).collect();
    let mut named = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    while is_trusted(&client) {
        let Some(Some(next)) = named.next().map(parse_address) else { break };
        client = next;
    }
    client
}

/// An address, which some proxies write with its port.
fn parse_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))?;
    Some(IpAddr::to_canonical(&ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line).unwrap());
        }
        client_of(peer.parse().unwrap(), &headers, &["10.0.0.0/8".parse().unwrap()]).to_string()
    }

    #[test]
    fn only_trusted_proxies_name_the_client() {
        assert_eq!(client("203.0.113.9", &[b"1.1.1.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[b"6.6.6.6, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[b"6.6.6.6, 203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[b"6.6.6.6", b"[2001:db8::1]:80, 10.0.0.2:99"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[b"203.0.113.9, junk"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_cannot_be_read_hides_no_source_and_lets_none_further_away_be_believed() {
        for junk in [
            &b"\xff"[..],
            b"\xc3\xa9",
            b"6.6.6.6\xa0",
            b"",
            b" ",
            b"unknown",
            b"_hidden",
            b"[",
            b"[6.6.6.6",
            b"6.6.6.6:x",
        ] {
            let (before, after) = ([junk, b", 203.0.113.9"].concat(), [b"6.6.6.6, ", junk].concat());
            let between = [b"6.6.6.6, ", junk, b", 10.0.0.2"].concat();
            assert_eq!(client("10.0.0.1", &[&before]), "203.0.113.9", "{junk:?}");
            assert_eq!(client("10.0.0.1", &[b"6.6.6.6", &before]), "203.0.113.9", "{junk:?}");
            assert_eq!(client("10.0.0.1", &[junk, b"203.0.113.9"]), "203.0.113.9", "{junk:?}");
            assert_eq!(client("10.0.0.1", &[&after]), "10.0.0.1", "{junk:?}");
            assert_eq!(client("10.0.0.1", &[b"6.6.6.6", junk]), "10.0.0.1", "{junk:?}");
            assert_eq!(client("10.0.0.1", &[&between]), "10.0.0.2", "{junk:?}");
            assert_eq!(client("10.0.0.1", &[b"6.6.6.6", junk, b"10.0.0.2"]), "10.0.0.2", "{junk:?}");
        }
        for (form, ip) in [
            (&b"[203.0.113.9]:1"[..], "10.0.0.1"),
            (b"203.0.113.9:65536", "10.0.0.1"),
            (b"203.0.113.9:443", "203.0.113.9"),
            (b"\t203.0.113.9 ", "203.0.113.9"),
            (b"[2001:db8::1]", "2001:db8::1"),
            (b"2001:db8::1", "2001:db8::1"),
            (b"::ffff:203.0.113.9", "203.0.113.9"),
            (b"[::ffff:10.0.0.3]:1", "10.0.0.3"),
        ] {
            assert_eq!(client("10.0.0.1", &[b"6.6.6.6, \xff", form]), ip, "{form:?}");
        }
        let mut many = b"6.6.6.6, \xff, 203.0.113.9".to_vec();
        many.extend(b", 10.0.0.2".repeat(5000));
        assert_eq!(client("10.0.0.1", &[&b"6.6.6.6,".repeat(5000), &many]), "203.0.113.9");
    }

    #[test]
    fn a_site_is_one_network() {
        let network = |ip: &str| Source(Some(ip.parse().unwrap())).network().to_string();
        assert_eq!(network("203.0.113.9"), "203.0.113.0");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert_eq!(Source(None).network(), Source(None));
    }

    #[test]
    fn a_v6_network_is_one_source() {
        let source = |ip: &str| Source(Some(ip.parse().unwrap())).to_string();
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), source("2001:db8:1:2::1"));
        assert_ne!(source("2001:db8:1:2::1"), source("2001:db8:1:3::1"));
    }
}
