//! The challenge of a 401 (RFC 6750 section 3, RFC 9728 section 5.1).

/// A parameter of a challenge.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// Its value, without quotes.
    pub(super) value: String,
    /// Whether it is spelt as every client reads it.
    pub(super) plain: bool,
}

/// A parameter of a `WWW-Authenticate` challenge, in any spelling that RFC 9110 section 11.2 allows: the name in any case,
/// spaces around `=`, no quotes.
pub(super) fn parameter(challenge: &str, name: &str) -> Option<Parameter> {
    let lower = challenge.to_ascii_lowercase();
    // Lower-casing ASCII moves nothing, so the places are the same in both.
    lower.match_indices(name).find_map(|(at, _)| {
        let before = &challenge[..at];
        if (at != 0 && !before.ends_with([' ', ',', '\t'])) || ends_quoted(before) {
            return None;
        }
        let (spelt, rest) = challenge[at..].split_at(name.len());
        let value = rest.trim_start().strip_prefix('=')?;
        let plain = spelt == name && rest.starts_with('=') && !value.starts_with(' ');
        let value = value.trim_start();
        let value = match value.strip_prefix('"') {
            Some(quoted) => &quoted[..quoted.find('"')?],
            None => value.split([' ', ',', '\t']).next().unwrap_or_default(),
        };
        Some(Parameter { value: value.to_owned(), plain })
    })
}

/// Whether a text ends within quotes (RFC 9110 section 5.6.4): what stands there is somebody's words, and no parameter.
fn ends_quoted(text: &str) -> bool {
    let mut quoted = false;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => quoted = !quoted,
            '\\' if quoted => {
                chars.next();
            }
            _ => {}
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_challenge() {
        let challenge = "Bearer error=\"invalid_token\", x_scope=\"no\", scope=\"a b\", resource_metadata=\"https://h/x\"";
        let value = |name| parameter(challenge, name).map(|p| p.value);
        assert_eq!(value("scope").unwrap(), "a b");
        assert_eq!(value("resource_metadata").unwrap(), "https://h/x");
        assert_eq!(value("realm"), None);
    }

    #[test]
    fn what_is_quoted_is_no_parameter() {
        let read = |challenge| parameter(challenge, "scope").map(|p| p.value);
        assert_eq!(read(r#"Bearer error_description="ask with scope=admin", scope="a""#).unwrap(), "a");
        assert_eq!(read(r#"Bearer error_description="say \" scope=admin", scope=a"#).unwrap(), "a");
        assert_eq!(read(r#"Bearer realm="the scope = none""#), None);
    }

    #[test]
    fn a_parameter_is_read_however_it_is_spelt() {
        let read = |challenge: &str| parameter(challenge, "resource_metadata").map(|p| (p.value, p.plain));
        let at = |plain| Some(("https://h/x".to_owned(), plain));
        assert_eq!(read("Bearer scope=\"a b\", resource_metadata=\"https://h/x\""), at(true));
        assert_eq!(read("Bearer resource_metadata=https://h/x, scope=a"), at(true));
        assert_eq!(read("Bearer resource_metadata = \"https://h/x\""), at(false));
        assert_eq!(read("Bearer Resource_Metadata=\"https://h/x\""), at(false));
        assert_eq!(read("Basic realm=\"x\", Bearer resource_metadata=\"https://h/x\""), at(true));
        assert_eq!(read("Bearer x_resource_metadata=\"https://h/x\""), None);
        assert_eq!(read("Bearer resource_metadata=\"https://h/x"), None, "cut off");
    }
}
