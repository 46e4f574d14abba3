//! The challenge of a 401 (RFC 6750 section 3, RFC 9728 section 5.1).

/// A parameter of a `WWW-Authenticate: Bearer` challenge.
pub(super) fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    while let Some(at) = rest.find(&format!("{name}=\"")) {
        let whole = at == 0 || rest[..at].ends_with([' ', ',']);
        let value = &rest[at + name.len() + 2..];
        if whole {
            return value.find('"').map(|end| value[..end].to_owned());
        }
        rest = value;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_challenge() {
        let challenge = "Bearer error=\"invalid_token\", x_scope=\"no\", scope=\"a b\", resource_metadata=\"https://h/x\"";
        assert_eq!(parameter(challenge, "scope").unwrap(), "a b");
        assert_eq!(parameter(challenge, "resource_metadata").unwrap(), "https://h/x");
        assert_eq!(parameter(challenge, "realm"), None);
    }
}
