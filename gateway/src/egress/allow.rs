//! `egress.allow`, and the decision on one destination.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address::{is_of_no_service, needs_address_entry, not_global};

/// The parsed `egress.allow`.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    networks: Vec<IpNet>,
    hosts: Vec<String>,
    /// `.example.com` of `*.example.com`.
    suffixes: Vec<String>,
    /// For these hosts alone the entries count, if there is a word on that.
    only: Option<Vec<String>>,
}

/// An entry of `egress.allow` that is none of the accepted kinds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "egress.allow: \"{0}\" is not a network (10.0.0.0/8), an address (10.0.0.1), a host (keycloak.idp.svc) or a \
     suffix (*.corp.example)"
)]
pub struct AllowError(String);

/// A destination that may not be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{host} is refused: {found}. If it is meant, add this line to egress.allow: - \"{line}\"")]
pub struct Refusal {
    /// The host that was asked for.
    pub host: String,
    /// What it is, for example `10.0.0.1 is private`.
    pub found: String,
    /// The line that would allow it.
    pub line: String,
}

impl AllowList {
    /// Parses the entries.
    ///
    /// # Errors
    /// When one is none of the accepted kinds.
    pub fn parse(entries: &[String]) -> Result<Self, AllowError> {
        let mut list = Self::default();
        for entry in entries {
            let text = entry.trim().to_ascii_lowercase();
            if let Ok(network) = text.parse::<IpNet>() {
                list.networks.push(network.trunc());
            } else if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
                list.networks.push(IpNet::from(address.to_canonical()));
            } else if let Some(suffix) = text.strip_prefix("*.").filter(|s| is_host(s)) {
                list.suffixes.push(format!(".{suffix}"));
            } else if is_host(&text) {
                list.hosts.push(text);
            } else {
                return Err(AllowError(entry.chars().take(100).collect()));
            }
        }
        Ok(list)
    }

    /// The same entries, which count for these hosts alone: for any other it is an empty list. What is a pattern names
    /// no host.
    #[must_use]
    pub fn only_for(&self, hosts: &[String]) -> Self {
        let named = hosts.iter().filter(|host| is_host(host)).cloned().collect();
        Self { only: Some(named), ..self.clone() }
    }

    /// Decides on `address`, to which `host` resolved.
    ///
    /// # Errors
    /// With the refusal, which says the line to add.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        let host = normal(host);
        let counts = self.only.as_ref().is_none_or(|hosts| hosts.contains(&host));
        let by_host = self.names(&host) && !needs_address_entry(address);
        // The name of a Service takes an entry of its own: one for a network, of the pods or Services of one team, must
        // not give every namespace's Services their names. Their addresses it opens, as it says.
        if counts && (by_host || (self.has(address) && !is_cluster_name(&host, address))) {
            return Ok(());
        }
        if is_cluster_name(&host, address) {
            let found = "it names a Service of the cluster".to_owned();
            return Err(Refusal { line: host.clone(), host, found });
        }
        let Some(reason) = not_global(address) else { return Ok(()) };
        let line = if host.parse::<IpAddr>().is_ok() || needs_address_entry(address) || !is_host(&host) {
            address.to_canonical().to_string()
        } else {
            host.clone()
        };
        Err(Refusal { found: format!("{address} is {reason}"), host, line })
    }

    /// Decides on `address`, to which the name of a Service of the server's own namespace leads, or its pod has.
    ///
    /// # Errors
    /// When no Service and no pod can have it, and no entry names it.
    pub fn check_service(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        match not_global(address) {
            Some(reason) if is_of_no_service(address) && !self.has(address) => Err(Refusal {
                host: normal(host),
                found: format!("{address} is {reason}"),
                line: address.to_canonical().to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|h| h == host) || self.suffixes.iter().any(|s| host.ends_with(s.as_str()))
    }

    fn has(&self, address: IpAddr) -> bool {
        let canonical = address.to_canonical();
        self.networks.iter().any(|net| net.contains(&canonical) || net.contains(&address))
    }
}

/// Lower case, without the brackets of an IPv6 literal and the dot of an absolute name.
fn normal(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

/// `name.namespace.svc`, which is the name of a Service by search domains.
pub(super) fn is_relative_cluster_name(host: &str) -> bool {
    host.rsplit_once('.').is_some_and(|(_, last)| last.eq_ignore_ascii_case("svc"))
}

/// `name.namespace.svc`, with or without the cluster's domain. A company may have a `svc` label in a public name too:
/// that one has a public address.
fn is_cluster_name(host: &str, address: IpAddr) -> bool {
    is_relative_cluster_name(host)
        || host.ends_with(".cluster.local")
        || (host.contains(".svc.") && not_global(address).is_some())
}

fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        })
        // `10.0.0` or `1.2.3.4.5` is a mistyped address, not a host: no top-level domain is a number.
        && !text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> AllowList {
        AllowList::parse(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn check(list: &AllowList, host: &str, address: &str) -> Result<(), String> {
        list.check(host, address.parse().unwrap()).map_err(|refusal| refusal.line)
    }

    #[test]
    fn the_refusal_says_the_line_to_add() {
        let none = list(&[]);
        assert_eq!(check(&none, "keycloak.corp", "10.0.0.1"), Err("keycloak.corp".into()));
        assert_eq!(check(&none, "10.0.0.1", "10.0.0.1"), Err("10.0.0.1".into()));
        assert_eq!(check(&none, "2130706433", "127.0.0.1"), Err("127.0.0.1".into()));
        assert_eq!(check(&none, "rebind.example", "169.254.169.254"), Err("169.254.169.254".into()));
        assert_eq!(check(&none, "[::1]", "::1"), Err("::1".into()));
        let refusal = none.check("keycloak.corp", "10.0.0.1".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "keycloak.corp is refused: 10.0.0.1 is private. If it is meant, add this line to egress.allow: - \
             \"keycloak.corp\""
        );
        // And the line does what it says.
        for (host, address) in
            [("keycloak.corp", "10.0.0.1"), ("rebind.example", "169.254.169.254"), ("x", "fd00::1")]
        {
            let line = check(&none, host, address).unwrap_err();
            assert_eq!(check(&list(&[&line]), host, address), Ok(()), "{line}");
        }
    }

    #[test]
    fn entries_open_what_they_name_and_no_more() {
        let some = list(&["10.1.0.0/16", "*.Corp.example", "idp.internal", "fd00::/8"]);
        assert_eq!(check(&some, "a.test", "10.1.2.3"), Ok(()));
        assert_eq!(check(&some, "a.test", "::ffff:10.1.2.3"), Ok(()));
        assert_eq!(check(&some, "a.test", "fd00::7"), Ok(()));
        assert_eq!(check(&some, "SSO.corp.example.", "192.168.0.1"), Ok(()));
        assert_eq!(check(&some, "idp.internal", "127.0.0.1"), Ok(()));
        for (host, address) in [
            ("a.test", "10.2.0.1"),
            ("corp.example", "192.168.0.1"),
            ("evilcorp.example", "192.168.0.1"),
            ("idp.internal.evil.test", "127.0.0.1"),
            ("idp.internal", "169.254.169.254"),
            ("idp.internal", "0.0.0.0"),
        ] {
            assert!(check(&some, host, address).is_err(), "{host} {address}");
        }
        assert_eq!(check(&some, "github.com", "140.82.121.4"), Ok(()));
    }

    #[test]
    fn a_service_needs_an_entry_of_its_own_name() {
        let network = list(&["10.0.0.0/8"]);
        for host in ["tools.team-b.svc", "tools.team-b.svc.cluster.local", "x.y.svc.acme.internal"] {
            assert_eq!(check(&network, host, "10.96.0.1"), Err(host.to_owned()));
        }
        for host in ["tools.team-b.svc", "tools.team-b.svc.cluster.local"] {
            assert_eq!(check(&list(&[]), host, "8.8.8.8"), Err(host.to_owned()));
        }
        assert_eq!(check(&list(&[]), "api.svc.example.com", "8.8.8.8"), Ok(()));
        assert_eq!(check(&list(&["keycloak.idp.svc"]), "keycloak.idp.svc", "10.96.0.1"), Ok(()));
    }

    #[test]
    fn entries_may_count_for_some_hosts_alone() {
        let some = list(&["10.0.0.0/8", "keycloak.idp.svc"]);
        let some =
            some.only_for(&["docs.corp".to_owned(), "*.wild.corp".to_owned(), "keycloak.idp.svc".to_owned()]);
        assert_eq!(check(&some, "Docs.corp.", "10.0.0.1"), Ok(()));
        assert_eq!(check(&some, "keycloak.idp.svc", "10.96.0.1"), Ok(()));
        for host in ["a.docs.corp", "a.wild.corp", "*.wild.corp", "evil.example", "10.0.0.1"] {
            assert!(check(&some, host, "10.0.0.1").is_err(), "{host}");
        }
        assert!(check(&some, "docs.corp", "192.168.0.1").is_err(), "it opens nothing by itself");
        assert_eq!(check(&some, "evil.example", "8.8.8.8"), Ok(()));
    }

    #[test]
    fn other_entries_are_refused() {
        for entry in ["10.0.0.0/33", "http://x", "*", "*.", "a b", "10.0.0", "host:443", ""] {
            assert!(AllowList::parse(&[entry.to_owned()]).is_err(), "{entry:?}");
        }
    }
}
