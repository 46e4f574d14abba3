//! The OAuth resource (RFC 8707): the server's own URL, and the spellings of it that clients send.

use url::Url;

/// Whether `requested` means the resource `own`: the same URL after normalising scheme, host and port, where one slash
/// at the end makes no difference (clients send `URL.href`).
pub fn is_same(own: &str, requested: &str) -> bool {
    if requested == own {
        return true;
    }
    let (Ok(own), Ok(requested)) = (Url::parse(own), Url::parse(requested)) else { return false };
    let plain = requested.query().is_none()
        && requested.fragment().is_none()
        && requested.username().is_empty()
        && requested.password().is_none();
    let trimmed = |url: &Url| url.path().strip_suffix('/').unwrap_or(url.path()).to_owned();
    plain && requested.origin() == own.origin() && trimmed(&requested) == trimmed(&own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_equivalents_are_the_resource_and_nothing_else_is() {
        let own = "https://h.example/mcp";
        for same in [own, "https://h.example/mcp/", "HTTPS://H.example:443/mcp"] {
            assert!(is_same(own, same), "{same}");
        }
        for other in [
            "https://h.example",
            "https://h.example/mcp/x",
            "https://h.example/mcp//",
            "https://h.example/mcp#x",
            "https://h.example/mcp?x",
            "https://u@h.example/mcp",
            "http://h.example/mcp",
            "https://h.example:8443/mcp",
            "https://other.example/mcp",
            "/mcp",
            "mcp",
            "",
        ] {
            assert!(!is_same(own, other), "{other}");
        }
        assert!(is_same("https://h.example", "https://h.example/"));
    }
}
