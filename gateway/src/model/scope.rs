//! OAuth scopes (RFC 6749 section 3.3).

/// The one implicit scope of a server that declares none.
pub const MCP: &str = "mcp";

/// Asked for by clients that want refresh tokens, which everyone gets; accepted, never granted by name.
const OFFLINE_ACCESS: &str = "offline_access";

/// More tokens than this in one request are not read.
const MAX_TOKENS: usize = 32;

/// The scopes that a server grants.
pub fn supported() -> Vec<&'static str> {
    vec![MCP]
}

/// What a request for `requested` is granted. Absent or empty: everything that is granted by default. Scopes that the
/// server does not have are left out, and the token response says what is left.
///
/// `None` when the text is malformed, or names only scopes that do not exist: `invalid_scope`.
pub fn granted(requested: Option<&str>) -> Option<String> {
    let requested = requested.unwrap_or_default();
    let mut tokens = requested.split(' ').filter(|t| !t.is_empty()).peekable();
    if tokens.peek().is_none() {
        return Some(MCP.to_owned());
    }
    let tokens: Vec<&str> = tokens.collect();
    if tokens.len() > MAX_TOKENS || !tokens.iter().all(|t| is_token(t)) {
        return None;
    }
    tokens.iter().any(|t| matches!(*t, MCP | OFFLINE_ACCESS)).then(|| MCP.to_owned())
}

/// What a refresh that asks for `requested` is given of `granted`: never more, and asking for something else is
/// `None`, `invalid_scope` (section 6).
pub fn narrowed(granted: &str, requested: Option<&str>) -> Option<String> {
    let asked: Vec<&str> = requested.unwrap_or_default().split(' ').filter(|t| !t.is_empty()).collect();
    if asked.len() > MAX_TOKENS {
        return None;
    }
    let have: Vec<&str> = granted.split(' ').collect();
    let known = asked.iter().all(|t| have.contains(t) || *t == OFFLINE_ACCESS);
    let kept: Vec<&str> = have.iter().filter(|t| asked.contains(t)).copied().collect();
    known.then(|| if kept.is_empty() { granted.to_owned() } else { kept.join(" ") })
}

/// `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`.
fn is_token(token: &str) -> bool {
    token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_scopes_are_left_out_and_alone_refused() {
        for asked in [None, Some(""), Some(" "), Some("mcp"), Some("mcp admin"), Some("offline_access")] {
            assert_eq!(granted(asked).as_deref(), Some("mcp"), "{asked:?}");
        }
        let many = "mcp ".repeat(500);
        for asked in ["admin", "*", "mcp \"x\"", "mcp \\", "mcp\u{0}", "mcp\tadmin", "ä", many.as_str()] {
            assert_eq!(granted(Some(asked)), None, "{asked:?}");
        }
    }

    #[test]
    fn a_refresh_shrinks_and_never_grows() {
        assert_eq!(narrowed("read write", None).as_deref(), Some("read write"));
        assert_eq!(narrowed("read write", Some("write")).as_deref(), Some("write"));
        assert_eq!(narrowed("read write", Some("read offline_access")).as_deref(), Some("read"));
        assert_eq!(narrowed("read", Some("read write")), None);
    }
}
