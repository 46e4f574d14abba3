//! Redirect URIs: which are well-formed, which a policy may name and allows, and when a requested one is the registered
//! one.

use crate::policy::{KNOWN_CLIENTS, RedirectUrisConfig, RegistrationMode, is_dangerous_scheme};

/// The longest redirect URI that is looked at.
pub const MAX_LEN: usize = 512;

/// A well-formed redirect URI, byte for byte as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    kind: Kind,
}

/// Where a redirect URI leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A web site.
    Https {
        /// Its host, with the port when one is given.
        host: String,
    },
    /// A program on the user's own computer (RFC 8252 section 7.3).
    Loopback {
        /// `127.0.0.1`, `[::1]` or `localhost`.
        host: String,
        /// Path and query, `/` when empty.
        rest: String,
    },
    /// A program that registered a URL scheme, with a host or, where the scheme is a domain name in reverse, without
    /// (RFC 8252 section 7.1).
    Custom {
        /// The scheme.
        scheme: String,
    },
    /// Plain http to a host that is not loopback: well-formed, never allowed.
    PlainHttp,
}

/// Why a text is not a redirect URI. No message repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    /// Too long.
    #[error("a redirect URI must be at most {MAX_LEN} characters")]
    TooLong,
    /// Characters that no URI has.
    #[error("a redirect URI must consist of the characters of RFC 3986, without spaces and wildcards")]
    Characters,
    /// No scheme and host, or a malformed one.
    #[error("a redirect URI must be absolute, with a host, or a path where the scheme has a dot")]
    NotAbsolute,
    /// It has a fragment (RFC 6749 section 3.1.2).
    #[error("a redirect URI must not have a fragment")]
    Fragment,
    /// It has user-info, which disguises the host.
    #[error("a redirect URI must not have user information")]
    UserInfo,
    /// A scheme that runs code in the browser.
    #[error("a redirect URI must not use a scheme that a browser runs or opens itself")]
    Dangerous,
    /// Its query has a parameter of the answer: a client might read that one (RFC 6749 section 4.1.2, RFC 9207).
    #[error("a redirect URI must not have the parameters code, state, iss and error")]
    Reserved,
    /// Plain http to a host that is not loopback, which nothing allows.
    #[error("a redirect URI must be https, http on loopback, or of an application's scheme")]
    PlainHttp,
    /// A wildcard that would admit anybody's address.
    #[error("before /* there must be a host and a path, and no query")]
    Wildcard,
}

impl RedirectUri {
    /// Reads a redirect URI.
    ///
    /// # Errors
    /// When it is malformed or dangerous.
    pub fn parse(text: &str) -> Result<Self, RedirectUriError> {
        if text.len() > MAX_LEN {
            return Err(RedirectUriError::TooLong);
        }
        let (scheme, rest) = text.split_once(':').ok_or(RedirectUriError::NotAbsolute)?;
        let scheme_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if is_dangerous_scheme(scheme) {
            return Err(RedirectUriError::Dangerous);
        }
        if text.contains('#') {
            return Err(RedirectUriError::Fragment);
        }
        if !text.bytes().all(is_uri_byte) {
            return Err(RedirectUriError::Characters);
        }
        if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(scheme_byte) {
            return Err(RedirectUriError::NotAbsolute);
        }
        let query = text.split_once('?').map(|(_, query)| query).unwrap_or_default();
        if url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| is_reserved(&name)) {
            return Err(RedirectUriError::Reserved);
        }
        let Some(after) = rest.strip_prefix("//") else { return Self::private_use(text, scheme, rest) };
        let end = after.find(['/', '?']).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        if authority.contains('@') {
            return Err(RedirectUriError::UserInfo);
        }
        let kind = classify(text, scheme, authority, tail)?;
        Ok(Self { text: text.to_owned(), kind })
    }

    /// Reads one to which a policy can have codes sent.
    ///
    /// # Errors
    /// When it is malformed or dangerous, or nothing allows it.
    pub fn parse_usable(text: &str) -> Result<Self, RedirectUriError> {
        let uri = Self::parse(text)?;
        if uri.kind == Kind::PlainHttp { Err(RedirectUriError::PlainHttp) } else { Ok(uri) }
    }

    /// `com.example.app:/path`: a scheme that is somebody's domain in reverse needs no host. Others are no addresses.
    fn private_use(text: &str, scheme: &str, rest: &str) -> Result<Self, RedirectUriError> {
        let good = scheme.contains('.') && rest.starts_with('/') && url::Url::parse(text).is_ok();
        let kind = Kind::Custom { scheme: scheme.to_owned() };
        if good { Ok(Self { text: text.to_owned(), kind }) } else { Err(RedirectUriError::NotAbsolute) }
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where it leads.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether codes may be sent there.
    pub fn is_allowed(&self, policy: &RedirectUrisConfig) -> bool {
        let loopback = policy.loopback == RegistrationMode::Allowed;
        let known = policy.known_clients == RegistrationMode::Allowed;
        match &self.kind {
            Kind::PlainHttp => false,
            Kind::Loopback { .. } if loopback => true,
            _ => {
                policy.allow.iter().any(|pattern| self.matches_pattern(pattern))
                    || (known && self.is_known_client())
            }
        }
    }

    /// Whether this, as requested, is `registered`: the same text, or on loopback the same but for the port.
    pub fn is_registered_as(&self, registered: &Self) -> bool {
        match (&self.kind, &registered.kind) {
            (Kind::Loopback { host: a, rest: x }, Kind::Loopback { host: b, rest: y }) => a == b && x == y,
            _ => self.text == registered.text,
        }
    }

    /// The text without a loopback port: what a remembered consent is about.
    pub fn without_loopback_port(&self) -> String {
        match &self.kind {
            Kind::Loopback { host, rest } => format!("http://{host}{rest}"),
            _ => self.text.clone(),
        }
    }

    fn is_known_client(&self) -> bool {
        KNOWN_CLIENTS.iter().flat_map(|c| c.redirect_uris).any(|pattern| self.matches_pattern(pattern))
    }

    /// Exact, or `*` for the whole last segment, which then holds neither separators nor encoded characters.
    fn matches_pattern(&self, pattern: &str) -> bool {
        let Some(prefix) = pattern.strip_suffix("/*") else { return self.text == pattern };
        if !may_be_continued(prefix) {
            return false;
        }
        let segment = self.text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
        segment.is_some_and(|s| !s.is_empty() && s.bytes().all(plain) && s != "." && s != "..")
    }
}

/// Looks at a pattern of [`RedirectUrisConfig::allow`].
///
/// # Errors
/// When it admits nothing, or more than an address of somebody's.
pub fn check_pattern(pattern: &str) -> Result<(), RedirectUriError> {
    let address = pattern.strip_suffix("/*");
    if address.is_some_and(|prefix| !may_be_continued(prefix)) {
        return Err(RedirectUriError::Wildcard);
    }
    RedirectUri::parse_usable(address.unwrap_or(pattern)).map(drop)
}

/// Whether any segment may follow: behind a host and a path, for `https://*` and `https://host/*` would be anybody's.
fn may_be_continued(prefix: &str) -> bool {
    let path = prefix.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
    path.is_some_and(|(host, path)| !host.is_empty() && !path.is_empty()) && !prefix.contains('?')
}

fn classify(text: &str, scheme: &str, authority: &str, tail: &str) -> Result<Kind, RedirectUriError> {
    if authority.is_empty() {
        return Err(RedirectUriError::NotAbsolute);
    }
    // The URL standard's parser must agree that this is a host and a port: browsers read it with that one.
    let parsed = url::Url::parse(text).map_err(|_| RedirectUriError::NotAbsolute)?;
    if !matches!(scheme, "http" | "https") {
        return Ok(Kind::Custom { scheme: scheme.to_owned() });
    }
    let host = parsed.host_str().unwrap_or_default();
    if scheme == "https" {
        let port = parsed.port().map(|p| format!(":{p}")).unwrap_or_default();
        return Ok(Kind::Https { host: format!("{host}{port}") });
    }
    // Compared as written: 127.1 or 0x7f000001 are spellings that only disguise.
    let written = match parsed.port() {
        Some(port) => authority.strip_suffix(&format!(":{port}")).unwrap_or_default(),
        None => authority.strip_suffix(":80").unwrap_or(authority),
    };
    let rest = match tail.as_bytes().first() {
        Some(b'/') => tail.to_owned(),
        _ => format!("/{tail}"),
    };
    Ok(match written {
        "127.0.0.1" | "[::1]" | "localhost" => Kind::Loopback { host: written.to_owned(), rest },
        _ => Kind::PlainHttp,
    })
}

/// What the answer itself adds to the query, and a client reads there.
fn is_reserved(name: &str) -> bool {
    matches!(name, "code" | "state" | "iss" | "error")
}

/// RFC 3986's characters without `*`, which here is a wildcard, and `'`, which ends attributes.
fn is_uri_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&()+,;=%".contains(&b)
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn policy(allow: &[&str]) -> RedirectUrisConfig {
        RedirectUrisConfig {
            allow: allow.iter().map(|&s| s.to_owned()).collect(),
            ..RedirectUrisConfig::default()
        }
    }

    fn allowed(uri: &str, policy: &RedirectUrisConfig) -> bool {
        RedirectUri::parse(uri).unwrap().is_allowed(policy)
    }

    #[test]
    fn dangerous_and_malformed_ones_are_refused() {
        use RedirectUriError as E;
        for (uri, error) in [
            ("javascript:alert(1)", E::Dangerous),
            ("JaVaScRiPt:alert(1)", E::Dangerous),
            ("data:text/html,x", E::Dangerous),
            ("vbscript:x", E::Dangerous),
            ("file:///etc/passwd", E::Dangerous),
            ("blob:https://h/x", E::Dangerous),
            ("java%0ascript:x", E::NotAbsolute),
            (" https://h/cb", E::Characters),
            ("https://h/cb\0", E::Characters),
            ("https://h\\@evil/cb", E::Characters),
            ("https://*.h/cb", E::Characters),
            ("https://h/cb#x", E::Fragment),
            ("https://u:p@h/cb", E::UserInfo),
            ("https:///cb", E::NotAbsolute),
            ("https://", E::NotAbsolute),
            ("/cb", E::NotAbsolute),
            ("cb", E::NotAbsolute),
            ("", E::NotAbsolute),
            ("https://h:99999/cb", E::NotAbsolute),
            ("urn:x", E::NotAbsolute),
            ("app://[::", E::NotAbsolute),
            ("app:/cb", E::NotAbsolute),
            ("com.example.app:cb", E::NotAbsolute),
            ("com.example.app:///cb", E::NotAbsolute),
            ("com.example.app:/cb#x", E::Fragment),
            ("https://h/cb?code=x", E::Reserved),
            ("https://h/cb?a=b&state", E::Reserved),
            ("http://localhost/cb?%69ss=x", E::Reserved),
            ("com.example.app:/cb?error=x", E::Reserved),
        ] {
            assert_eq!(RedirectUri::parse(uri), Err(error), "{uri}");
        }
        let long = format!("https://h/{}", "a".repeat(MAX_LEN));
        assert_eq!(RedirectUri::parse(&long), Err(E::TooLong));
    }

    #[test]
    fn known_clients_and_loopback_are_allowed_by_default() {
        let default = policy(&[]);
        for uri in [
            "http://localhost:53211/callback",
            "http://127.0.0.1/",
            "http://[::1]:7/x?y=z",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://claude.ai/api/mcp/auth_callback",
            "https://chatgpt.com/connector/oauth/abc-DEF_1",
        ] {
            assert!(allowed(uri, &default), "{uri}");
        }
        for uri in [
            "http://c1.test/cb",
            "http://localhost.evil.test/cb",
            "http://127.1/cb",
            "http://2130706433/cb",
            "https://c1.test/cb",
            "cursor://other/oauth/callback",
            "https://claude.ai/api/mcp/auth_callback/",
            "https://chatgpt.com/connector/oauth/",
            "https://chatgpt.com/connector/oauth/..",
            "https://chatgpt.com/connector/oauth/a/b",
            "https://chatgpt.com/connector/oauth/a%2fb",
            "https://chatgpt.com/connector/oauth/a?b",
            "https://chatgpt.com.evil.test/connector/oauth/a",
        ] {
            assert!(!allowed(uri, &default), "{uri}");
        }
    }

    #[test]
    fn each_published_callback_is_allowed_and_its_neighbours_are_not() {
        let (default, mut strict) = (policy(&[]), policy(&[]));
        strict.known_clients = RegistrationMode::Refused;
        for client in KNOWN_CLIENTS {
            for published in client.redirect_uris {
                let uri = &published.replace('*', "abc-DEF_1");
                assert!(allowed(uri, &default), "{}: {uri}", client.name);
                assert!(!allowed(uri, &strict), "{}: {uri}", client.name);
                let (scheme, rest) = uri.split_once("://").unwrap();
                for neighbour in [
                    format!("{uri}/"),
                    format!("{uri}/x"),
                    format!("{uri}?x=y"),
                    format!("{scheme}x://{rest}"),
                    format!("{scheme}://x.{rest}"),
                    format!("{scheme}://{}", rest.replacen('/', ".evil.test/", 1)),
                    format!("{scheme}://{}", rest.replacen('/', ":8443/", 1)),
                    format!("{scheme}://{}", rest.replacen('/', "/x/", 1)),
                    format!("http://{rest}"),
                ] {
                    let neighbour = RedirectUri::parse(&neighbour);
                    let is_allowed = neighbour.as_ref().is_ok_and(|uri| uri.is_allowed(&default));
                    assert!(!is_allowed, "{}: {neighbour:?}", client.name);
                }
            }
            assert!(!client.sources.is_empty(), "{}", client.name);
            for source in client.sources {
                assert!(source.starts_with("https://") && Url::parse(source).is_ok(), "{source}");
            }
        }
    }

    #[test]
    fn a_policy_adds_and_takes_away() {
        let strict = RedirectUrisConfig {
            loopback: RegistrationMode::Refused,
            known_clients: RegistrationMode::Refused,
            allow: vec!["https://ci.example.com/cb".to_owned(), "http://localhost:9/cb".to_owned()],
        };
        assert!(allowed("https://ci.example.com/cb", &strict));
        assert!(allowed("http://localhost:9/cb", &strict));
        assert!(!allowed("http://localhost:10/cb", &strict));
        assert!(!allowed("https://claude.ai/api/mcp/auth_callback", &strict));
    }

    #[test]
    fn a_scheme_that_is_a_domain_in_reverse_needs_no_host() {
        let app = RedirectUri::parse("com.example.app:/cb?x=y").unwrap();
        assert_eq!(app.kind(), &Kind::Custom { scheme: "com.example.app".to_owned() });
        assert!(app.is_allowed(&policy(&["com.example.app:/cb?x=y"])));
        assert!(!app.is_allowed(&policy(&["com.example.app:/cb"])));
    }

    #[test]
    fn a_pattern_without_a_host_or_path_matches_nothing() {
        for (pattern, uri) in [
            ("https://*", "https://evil.test"),
            ("https:/*", "https://evil.test"),
            ("https://h.test/*", "https://h.test/evil"),
            ("https:///*", "https://h.test/evil"),
            ("https://h.test/cb?x=/*", "https://h.test/cb?x=/evil"),
        ] {
            assert!(!allowed(uri, &policy(&[pattern])), "{pattern}");
            assert_eq!(check_pattern(pattern), Err(RedirectUriError::Wildcard), "{pattern}");
        }
        assert!(allowed("https://h.test/cb/one", &policy(&["https://h.test/cb/*"])));
        assert_eq!(check_pattern("https://h.test/cb/*"), Ok(()));
    }

    #[test]
    fn only_a_loopback_port_may_differ() {
        let is = |requested, registered| {
            let parse = |s| RedirectUri::parse(s).unwrap();
            parse(requested).is_registered_as(&parse(registered))
        };
        assert!(is("http://127.0.0.1:61000/cb", "http://127.0.0.1:5000/cb"));
        assert!(is("http://localhost:61000/callback", "http://localhost/callback"));
        assert!(is("http://127.0.0.1:33418", "http://127.0.0.1/"));
        assert!(!is("http://127.0.0.1:61000/other", "http://127.0.0.1:5000/cb"));
        assert!(!is("http://localhost:5000/cb", "http://127.0.0.1:5000/cb"));
        assert!(!is("https://127.0.0.1:5000/cb", "http://127.0.0.1:5000/cb"));
        assert!(!is("https://h.test:444/cb", "https://h.test/cb"));
    }

    #[test]
    fn what_a_policy_may_name_is_an_address_of_somebodys() {
        for (uri, fine) in [
            ("https://ci.example.com/cb", true),
            ("http://localhost:80/cb", true),
            ("http://127.0.0.1/cb", true),
            ("http://[::1]:80/cb", true),
            ("cursor://x/cb", true),
            ("com.example.app:/cb", true),
            ("app:/cb", false),
            ("http://ci.example.com/cb", false),
            ("http://localhost.example.com/cb", false),
            ("http://localhost:80@evil.example.com/cb", false),
            ("javascript://x/%0aalert(1)", false),
            ("file:///etc/passwd", false),
            ("https://ci.example.com/cb#x", false),
            ("https://ci.example.com/cb?x=y", true),
            ("https://ci.example.com/cb?%63ode=y", false),
        ] {
            assert_eq!(RedirectUri::parse_usable(uri).is_ok(), fine, "{uri}");
            assert_eq!(check_pattern(uri).is_ok(), fine, "{uri}");
        }
        for (pattern, fine) in [
            ("https://h.example.com/cb/*", true),
            ("https://*", false),
            ("https://h.example.com/*", false),
            ("https://h.example.com/cb?x=/*", false),
            ("http://h.example.com/cb/*", false),
        ] {
            assert_eq!(check_pattern(pattern).is_ok(), fine, "{pattern}");
        }
    }
}
