//! Hosts: which are loopback, which lie in the cluster, which a pattern or the egress rule names.

/// Whether a host is the machine itself: `localhost`, `*.localhost`, 127.0.0.0/8, `[::1]`.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a host is the name of a Service: `name.namespace.svc`, with or without the cluster's domain, which may be any.
pub(super) fn is_service(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let labels: Vec<&str> = host.split('.').collect();
    labels.get(2) == Some(&"svc") || labels.ends_with(&["svc"]) || labels.ends_with(&["cluster", "local"])
}

/// Whether a host matches a pattern of `hosts`: `*` is one label, `{namespace}` the namespace.
pub fn matches(pattern: &str, host: &str, namespace: &str) -> bool {
    let pattern = pattern.replace("{namespace}", namespace);
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len()
        && pattern.iter().zip(&host).all(|(p, h)| *p == "*" || p.eq_ignore_ascii_case(h))
}

/// Whether `egress.allow` names a host; networks and addresses are looked at when the connection is made.
pub(super) fn egress_allows(allow: &[String], host: &str) -> bool {
    allow.iter().any(|entry| match entry.strip_prefix("*.") {
        Some(suffix) => {
            host.len() > suffix.len() + 1
                && host.to_ascii_lowercase().ends_with(&format!(".{}", suffix.to_ascii_lowercase()))
        }
        None => entry.eq_ignore_ascii_case(host),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_label_and_the_namespace_is_filled_in() {
        assert!(matches("*.{namespace}.mcp.example.com", "github.team-a.mcp.example.com", "team-a"));
        assert!(!matches("*.{namespace}.mcp.example.com", "github.team-b.mcp.example.com", "team-a"));
        assert!(!matches("*.example.com", "a.b.example.com", "team-a"));
        assert!(!matches("*.example.com", "example.com", "team-a"));
    }

    #[test]
    fn services_are_recognised_in_every_spelling() {
        for host in
            ["tools.team-b.svc", "tools.team-b.svc.cluster.local", "tools.team-b.svc.", "a.b.svc.corp.local"]
        {
            assert!(is_service(host), "{host}");
        }
        for host in ["tools.example.com", "svc.example.com", "tools.svc.example.com", "localhost"] {
            assert!(!is_service(host), "{host}");
        }
    }

    #[test]
    fn loopback_has_many_names() {
        for host in ["localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        assert!(!is_loopback("localhost.example.com"));
    }
}
