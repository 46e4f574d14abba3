//! Which addresses are part of the public internet.
//!
//! Source: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890, RFC 8190), as of 2026. Addresses
//! that carry another one inside (IPv4-mapped, NAT64, 6to4, Teredo, ISATAP) are refused, or judged by what they carry.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Why an address is not globally routable, in words for a message.
pub(super) type Reason = &'static str;

const V4: &[(Ipv4Net, Reason)] = &[
    (v4([0, 0, 0, 0], 8), "\"this\" network"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared by carriers (CGNAT)"),
    (v4([127, 0, 0, 0], 8), LOOPBACK),
    (v4([169, 254, 0, 0], 16), LINK_LOCAL),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "reserved for protocols"),
    (v4([192, 0, 2, 0], 24), DOCUMENTATION),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "for benchmarks"),
    (v4([198, 51, 100, 0], 24), DOCUMENTATION),
    (v4([203, 0, 113, 0], 24), DOCUMENTATION),
    (v4([224, 0, 0, 0], 4), MULTICAST),
    (v4([240, 0, 0, 0], 4), "reserved or broadcast"),
    // Azure answers its instance metadata at an address that is public everywhere else.
    (v4([168, 63, 129, 16], 32), METADATA),
];

/// Only 2000::/3 is assigned as global unicast; these parts of it are not routable, or carry another address.
const V6: &[(Ipv6Net, Reason)] = &[
    (v6([0x2001, 0, 0, 0], 32), "Teredo"),
    (v6([0x2001, 0, 0, 0], 23), "reserved for protocols"),
    (v6([0x2001, 0xdb8, 0, 0], 32), DOCUMENTATION),
    (v6([0x2002, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0], 20), DOCUMENTATION),
];

/// Outside 2000::/3 all is refused; these have a name.
const V6_NAMED: &[(Ipv6Net, Reason)] = &[
    (v6([0, 0, 0, 0], 128), "unspecified"),
    (v6([0x64, 0xff9b, 0, 0], 96), "NAT64"),
    (v6([0x64, 0xff9b, 1, 0], 48), "NAT64"),
    (v6([0xfe80, 0, 0, 0], 10), LINK_LOCAL),
    (v6([0xfec0, 0, 0, 0], 10), "site-local"),
    (v6([0xfd00, 0xec2, 0, 0], 32), METADATA),
    (v6([0xfc00, 0, 0, 0], 7), "unique local"),
    (v6([0xff00, 0, 0, 0], 8), MULTICAST),
];

const LOOPBACK: Reason = "loopback";
const LINK_LOCAL: Reason = "link-local";
const MULTICAST: Reason = "multicast";
const METADATA: Reason = "a cloud's metadata service";
const DOCUMENTATION: Reason = "for documentation";

/// `None` for an address of the public internet, else why it is not one.
pub fn not_global(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(ip) => V4.iter().find(|(net, _)| net.contains(&ip)).map(|(_, reason)| *reason),
        IpAddr::V6(ip) => not_global_v6(ip),
    }
}

/// Whether only an entry that spells the address or its network may open it: a host name in `egress.allow` is not
/// meant to reach what its own DNS could point at a node's metadata service.
pub(super) fn needs_address_entry(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_unspecified()
        || not_global(address).is_some_and(|reason| [LINK_LOCAL, MULTICAST, METADATA].contains(&reason))
}

/// Whether neither a Service nor a pod can have an address: what is the gateway's own, its node's, or nobody's.
pub(super) fn is_of_no_service(address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || needs_address_entry(address)
}

fn not_global_v6(ip: Ipv6Addr) -> Option<Reason> {
    if ip.is_loopback() {
        return Some(LOOPBACK);
    }
    if ip.segments()[0] & 0xe000 != 0x2000 {
        let named = V6_NAMED.iter().find(|(net, _)| net.contains(&ip));
        return Some(named.map_or("not global unicast", |(_, reason)| reason));
    }
    // An ISATAP host (RFC 5214) carries an IPv4 address behind ::5efe under any prefix.
    if ip.segments()[4] & !0x0200 == 0 && ip.segments()[5] == 0x5efe {
        return Some("ISATAP");
    }
    V6.iter().find(|(net, _)| net.contains(&ip)).map(|(_, reason)| *reason)
}

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), prefix)
}

const fn v6(head: [u16; 4], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], head[2], head[3], 0, 0, 0, 0), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack 116, by address.
    #[test]
    fn what_is_not_public_is_refused() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001:0:53aa:64c:0:7fff:80ff:fffe",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2606:4700::5efe:7f00:1",
            "2606:4700::200:5efe:10.0.0.1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(not_global(text.parse().unwrap()).is_some(), "{text}");
        }
    }

    #[test]
    fn the_public_internet_is_not() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "140.82.121.4",
            "172.32.0.1",
            "100.128.0.1",
            "::ffff:8.8.8.8",
            "2606:4700:4700::1111",
            "2a00:1450:4001:800::200e",
            "2620:4f:8000::1",
        ] {
            assert_eq!(not_global(text.parse().unwrap()), None, "{text}");
        }
    }
}
