//! Which tools of the backend are offered, and which scopes a call of one needs.

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
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect::<Vec<_>>();
        let needs = config.scopes.iter().map(|rule| Ok((patterns(&rule.tools), scopes.set(&rule.scopes)?)));
        Ok(Self {
            allow: patterns(&config.allow),
            deny: patterns(&config.deny),
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
        let in_list = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(tool));
        self.all || (in_list(&self.allow) && !in_list(&self.deny))
    }

    /// The scopes that a call of a tool needs.
    pub(super) fn needs(&self, tool: &str) -> ScopeSet {
        let rules = self.needs.iter().filter(|(patterns, _)| patterns.iter().any(|p| p.matches(tool)));
        rules.fold(ScopeSet::default(), |all, (_, scopes)| all.union(*scopes))
    }
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
    fn a_tool_needs_what_every_rule_for_it_says() {
        let rules =
            [json!({"tools": ["create_*"], "scopes": ["a"]}), json!({"tools": ["*_repo"], "scopes": ["b"]})];
        let some = tools(json!({"scopes": rules}));
        assert!(!some.is_open() && some.needs("get_issue").is_empty());
        assert_eq!(some.needs("create_repo"), some.needs("create_x").union(some.needs("delete_repo")));
        assert!(!some.needs("create_x").contains(some.needs("delete_repo")));
    }
}
