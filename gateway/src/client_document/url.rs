//! The URL of a document, which is the client's id and its identity.

use url::{Host, Url};

use crate::model::registration::MAX_ID_LEN;

/// A client id that is the URL of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentUrl {
    text: String,
    host: String,
}

impl DocumentUrl {
    /// Reads a client id (section 3 of the draft): https, a host name, a path, and nothing that a parser would change or
    /// a person would overlook. A port is not accepted: the host alone is what people are told of the client.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_ID_LEN || !text.starts_with("https://") {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let Some(Host::Domain(host)) = url.host() else { return None };
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.port().is_none()
            && url.fragment().is_none()
            && url.path() != "/"
            && host.contains('.')
            && !host.ends_with('.');
        // Dot segments, capitals in the host, a default port and the like do not survive the parser.
        (plain && url.as_str() == text).then(|| Self { text: text.to_owned(), host: host.to_owned() })
    }

    /// The URL, byte for byte.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host: what identifies the client to people.
    pub fn host(&self) -> &str {
        &self.host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attack 115.
    #[test]
    fn only_plain_https_urls_with_a_path_are_ids() {
        for good in [
            "https://claude.ai/oauth/claude-code-client-metadata",
            "https://a.example.com/c?v=2",
            "https://xn--bcher-kva.example/c",
        ] {
            assert_eq!(DocumentUrl::parse(good).map(|url| url.text).as_deref(), Some(good));
        }
        let long = format!("https://a.example.com/{}", "a".repeat(MAX_ID_LEN));
        for bad in [
            "http://a.example.com/c",
            "HTTPS://a.example.com/c",
            "https:a.example.com/c",
            "https:/a.example.com/c",
            "https:\\\\a.example.com\\c",
            "https://a.example.com",
            "https://a.example.com/",
            "https://a.example.com/?x=1",
            "https://u@a.example.com/c",
            "https://u:p@a.example.com/c",
            "https://@a.example.com/c",
            "https://a.example.com/c#f",
            "https://a.example.com/c#",
            "https://a.example.com/./c",
            "https://a.example.com/x/../c",
            "https://a.example.com/x/%2e%2e/c",
            "https://a.example.com/x/.%2E/c",
            "https://a.example.com:443/c",
            "https://a.example.com:8443/c",
            "https://a.example.com:0/c",
            "https://a.example.com:/c",
            "https://A.example.com/c",
            "https://a.example.com./c",
            "https://localhost/c",
            "https://kubernetes/c",
            "https://127.0.0.1/c",
            "https://2130706433/c",
            "https://0177.0.0.1/c",
            "https://[::1]/c",
            "https://b\u{fc}cher.example/c",
            "https://a.example.com/c d",
            "https://a.example.com/c\n",
            " https://a.example.com/c",
            "https://a.exam\tple.com/c",
            &long,
        ] {
            assert_eq!(DocumentUrl::parse(bad), None, "{bad:?}");
        }
    }
}
