//! The patterns of `identity.allowedIssuers`. They are compared part by part, never as text: `https://sso.corp` and
//! `https://sso.corp@evil.example` begin alike and lead elsewhere.

use url::{Origin, Url};

/// One pattern: `https://host`, with a port and a path where the issuer has them. `*` stands for one label of the host,
/// and as the whole last segment for every path below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerPattern {
    /// The pattern as a URL: `*` is a character like others in a host.
    url: Url,
    /// The path below which all are meant; `None`: exactly this one.
    below: Option<String>,
}

impl IssuerPattern {
    /// Reads a pattern; `None` when it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let url = endpoint(text)?;
        let host = url.host_str()?;
        if host.split('.').any(|label| label.contains('*') && label != "*") {
            return None;
        }
        let below = url.path().strip_suffix("/*").map(str::to_owned);
        let path = below.as_deref().unwrap_or(url.path());
        if path.contains('*') { None } else { Some(Self { url, below }) }
    }

    /// Whether a URL is on an origin that the pattern names, whatever its path.
    pub fn matches_origin(&self, url: &Url) -> bool {
        let same = self.url.scheme() == url.scheme()
            && self.url.port_or_known_default() == url.port_or_known_default();
        let (Some(pattern), Some(host)) = (self.url.host_str(), url.host_str()) else { return false };
        let is_name = matches!(url.origin(), Origin::Tuple(_, url::Host::Domain(_), _));
        let (pattern, host): (Vec<&str>, Vec<&str>) =
            (pattern.split('.').collect(), host.split('.').collect());
        same && pattern.len() == host.len()
            && pattern.iter().zip(&host).all(|(p, h)| p == h || (*p == "*" && is_name && !h.is_empty()))
    }

    /// Whether an issuer is one that the pattern names: origin and path.
    pub fn matches_issuer(&self, issuer: &Url) -> bool {
        let path = issuer.path().trim_end_matches('/');
        let good = match &self.below {
            Some(below) => {
                path == below || path.strip_prefix(below.as_str()).is_some_and(|p| p.starts_with('/'))
            }
            None => path == self.url.path().trim_end_matches('/'),
        };
        good && self.matches_origin(issuer)
    }
}

/// A URL of an identity provider: http or https, with a host, and without what would disguise it.
pub fn endpoint(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    let good = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    (good && plain && url.query().is_none() && url.fragment().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(pattern: &str, issuer: &str) -> bool {
        let pattern = IssuerPattern::parse(pattern).unwrap();
        endpoint(issuer).is_some_and(|url| pattern.matches_issuer(&url))
    }

    #[test]
    fn hosts_match_label_by_label() {
        assert!(issuer("https://sso.corp.example/*", "https://sso.corp.example/realms/a"));
        assert!(issuer("https://*.corp.example", "https://sso.corp.example/"));
        assert!(issuer("https://sso.corp.example", "https://SSO.corp.example:443"));
        for other in [
            "https://sso.corp.example@evil.example/",
            "https://sso.corp.example.evil.example",
            "https://a.sso.corp.example",
            "http://sso.corp.example",
            "https://sso.corp.example:8443",
            "https://corp.example",
        ] {
            assert!(!issuer("https://sso.corp.example/*", other), "{other}");
            assert!(!issuer("https://*.corp.example/*", other), "{other}");
        }
        assert!(!issuer("https://*.*.*.*", "https://127.0.0.1"), "an address has no labels");
    }

    #[test]
    fn paths_are_exact_or_below() {
        assert!(issuer("https://sso.example/realms/a", "https://sso.example/realms/a/"));
        assert!(!issuer("https://sso.example/realms/a", "https://sso.example/realms/ab"));
        assert!(issuer("https://sso.example/realms/*", "https://sso.example/realms/b"));
        for other in
            ["https://sso.example/realmsx/b", "https://sso.example/realms/../evil", "https://sso.example/"]
        {
            assert!(!issuer("https://sso.example/realms/*", other), "{other}");
        }
        assert!(issuer("https://sso.example/*", "https://sso.example"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in [
            "https://sso.corp*",
            "https://*sso.corp",
            "https://sso.corp/realms*",
            "https://sso.corp/*/x",
            "https://u@sso.corp",
            "https://sso.corp?x",
            "sso.corp",
            "ftp://sso.corp",
            "*",
        ] {
            assert_eq!(IssuerPattern::parse(text), None, "{text}");
        }
    }
}
