//! Which tools of the backend are offered, and which scopes a call of one needs.
//!
//! A tool's name is what the backend takes for it. Most compare it exactly, some ignore case or trim it. So what a rule
//! takes away (`deny`, `scopes`) it takes in any case, what it gives (`allow`) it gives as it is written, and a name that
//! could be trimmed or cut into another one is none.

use std::borrow::Cow;

use gatehouse_gateway_config::ToolsConfig;

use crate::model::{ScopeSet, Scopes, scope::ScopesError};

/// The rules for tools, prepared once.
#[derive(Debug)]
pub(super) struct Tools {
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
    needs: Vec<(Vec<Pattern>, ScopeSet)>,
    all: bool,
}

impl Tools {
    /// # Errors
    /// When a rule names a scope that the server does not have.
    pub(super) fn new(config: &ToolsConfig, scopes: &Scopes) -> Result<Self, ScopesError> {
        let folded = |texts: &[String]| texts.iter().map(|text| Pattern::new(&fold(text))).collect();
        let needs = config.scopes.iter().map(|rule| Ok((folded(&rule.tools), scopes.set(&rule.scopes)?)));
        Ok(Self {
            allow: config.allow.iter().map(|text| Pattern::new(text)).collect(),
            deny: folded(&config.deny),
            needs: needs.collect::<Result<_, _>>()?,
            all: config.deny.is_empty() && config.allow.iter().any(|pattern| pattern == "*"),
        })
    }

    /// Whether some tools may not be offered, so that lists of tools must be read.
    pub(super) fn hide_some(&self) -> bool {
        !self.all
    }

    /// Whether no call is looked at: every tool is offered and none needs a scope.
    pub(super) fn is_open(&self) -> bool {
        self.all && self.needs.is_empty()
    }

    /// Whether a tool is offered.
    pub(super) fn offers(&self, tool: &str) -> bool {
        let in_list = |patterns: &[Pattern], tool: &str| patterns.iter().any(|p| p.matches(tool));
        self.all || (is_name(tool) && in_list(&self.allow, tool) && !in_list(&self.deny, &fold(tool)))
    }

    /// The scopes that a call of a tool needs.
    pub(super) fn needs(&self, tool: &str) -> ScopeSet {
        let tool = fold(tool);
        let rules = self.needs.iter().filter(|(patterns, _)| patterns.iter().any(|p| p.matches(&tool)));
        rules.fold(ScopeSet::default(), |all, (_, scopes)| all.union(*scopes))
    }
}

/// Whether a name is one thing for every backend: no control character, and nothing at its ends that a backend could
/// trim or that nobody sees.
pub(super) fn is_name(tool: &str) -> bool {
    let ends = [tool.chars().next(), tool.chars().next_back()];
    let shows = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace() && !is_invisible(c));
    ends.into_iter().all(shows) && !tool.contains(char::is_control)
}

/// Format characters of Unicode that take no room: soft hyphen, zero-width ones, marks of direction, byte order mark.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text as backends that ignore case compare it.
pub(super) fn fold(text: &str) -> Cow<'_, str> {
    if !text.is_ascii() {
        // Both ways: the long s is an s, and the Kelvin sign a k, in one of them only.
        return Cow::Owned(text.to_uppercase().to_lowercase());
    }
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    if lower { Cow::Borrowed(text) } else { Cow::Owned(text.to_ascii_lowercase()) }
}

/// A tool's name, where the first `*` stands for any text, also none.
#[derive(Debug)]
struct Pattern {
    before: String,
    after: Option<String>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        match text.split_once('*') {
            Some((before, after)) => Self { before: before.to_owned(), after: Some(after.to_owned()) },
            None => Self { before: text.to_owned(), after: None },
        }
    }

    fn matches(&self, tool: &str) -> bool {
        match &self.after {
            None => tool == self.before,
            Some(after) => {
                tool.strip_prefix(self.before.as_str()).is_some_and(|rest| rest.ends_with(after.as_str()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tools(config: serde_json::Value) -> Tools {
        let scopes = serde_json::from_value::<Vec<_>>(json!([{"name": "a"}, {"name": "b"}])).unwrap();
        let scopes = Scopes::new(&scopes, None).unwrap();
        Tools::new(&serde_json::from_value(config).unwrap(), &scopes).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, yes, no) in [
            ("get", "get", "get_issue"),
            ("get_*", "get_", "forget_it"),
            ("*_issue", "create_issue", "create_issues"),
            ("get_*_issue", "get_my_issue", "get_issue"),
            ("*", "", "-"),
        ] {
            assert!(Pattern::new(pattern).matches(yes), "{pattern} {yes}");
            assert!(pattern == "*" || !Pattern::new(pattern).matches(no), "{pattern} {no}");
        }
    }

    #[test]
    fn what_is_denied_is_not_offered_even_if_it_is_allowed() {
        let some = tools(json!({"allow": ["get_*"], "deny": ["get_secret"]}));
        assert!(some.hide_some() && some.offers("get_issue"));
        assert!(!some.offers("get_secret") && !some.offers("create_issue"));
        let all = tools(json!({}));
        assert!(!all.hide_some() && all.is_open() && all.offers("anything"));
    }

    #[test]
    fn what_a_lenient_backend_takes_for_a_denied_tool_is_not_offered() {
        let some = tools(json!({"deny": ["delete_*", "DROP"]}));
        for name in ["delete_repo", "DELETE_repo", "Delete_Repo", "drop", "DROP"] {
            assert!(!some.offers(name), "{name}");
        }
        for name in ["", " ", "x ", "\tx", "x\n", "x\0", "a\0b", "a\u{85}b", "x\u{7f}"] {
            assert!(!some.offers(name) && !is_name(name), "{name:?}");
        }
        for name in ["x\u{a0}", "\u{feff}x", "x\u{200b}", "\u{2066}x", "x\u{ad}"] {
            assert!(!some.offers(name) && !is_name(name), "{name:?}");
        }
        for name in ["größe", "two words", "工具", "ns/tool.v2"] {
            assert!(some.offers(name), "{name}");
        }
        // What is given is given as it is written.
        let some = tools(json!({"allow": ["get_*"]}));
        assert!(some.offers("get_x") && !some.offers("GET_x"));
        assert_eq!(fold("\u{17f}ecret\u{212a}ey"), "secretkey");
    }

    #[test]
    fn a_tool_needs_what_every_rule_for_it_says() {
        let rules =
            [json!({"tools": ["create_*"], "scopes": ["a"]}), json!({"tools": ["*_repo"], "scopes": ["b"]})];
        let some = tools(json!({"scopes": rules}));
        assert!(!some.is_open() && some.needs("get_issue").is_empty());
        assert_eq!(some.needs("create_repo"), some.needs("create_x").union(some.needs("delete_repo")));
        assert!(!some.needs("create_x").contains(some.needs("delete_repo")));
        assert_eq!(some.needs("CREATE_Repo"), some.needs("create_repo"));
    }
}
