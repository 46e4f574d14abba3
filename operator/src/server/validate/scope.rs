//! `spec.scopes` and `spec.backends[].tools`: names that exist, no circles, and rules that the identity can answer.

use gatehouse_gateway_config::{IdentityConfig, ScopeConfig, ToolScopesConfig, ToolsConfig};

use super::{
    Checks,
    access::{answerable, rules},
};
use crate::crd::server_scope::{Scope, Tools};

/// Checks the scopes; what the gateway is told of them.
pub(super) fn check(checks: &mut Checks<'_>, identity: Option<&IdentityConfig>) -> Vec<ScopeConfig> {
    let scopes = checks.server.spec.scopes.clone().unwrap_or_default();
    let names: Vec<&str> = scopes.iter().map(|scope| scope.name.as_str()).collect();
    for (index, scope) in scopes.iter().enumerate() {
        let field = format!("spec.scopes[{index}]");
        if scope.name == "offline_access" || names[..index].contains(&scope.name.as_str()) {
            checks.invalid(
                format!("{field}.name"),
                format!("\"{}\" is reserved, or is there twice", scope.name),
            );
        }
        known(checks, &format!("{field}.includes"), scope.includes.as_deref().unwrap_or_default(), &names);
        if in_circle(&scopes, &scope.name) {
            let message =
                format!("\"{}\" includes itself, by way of others; a scope covers narrower ones", scope.name);
            checks.invalid(format!("{field}.includes"), message);
        }
    }
    let configs: Vec<ScopeConfig> = scopes
        .into_iter()
        .enumerate()
        .map(|(index, scope)| {
            let list = format!("spec.scopes[{index}].allow");
            let allow = scope.allow.map(|entries| rules(checks, &list, &entries));
            for (at, rule) in allow.iter().flatten().enumerate() {
                if let Some(identity) = identity {
                    answerable(checks, identity, &format!("{list}[{at}]"), rule);
                }
            }
            let Scope { name, description, default, includes, .. } = scope;
            ScopeConfig { name, description, default, includes: includes.unwrap_or_default(), allow }
        })
        .collect();
    tools_good(checks, &configs);
    configs
}

/// Whether following `includes` from a scope comes back to it.
fn in_circle(scopes: &[Scope], start: &str) -> bool {
    let includes = |name: &str| scopes.iter().find(|s| s.name == name).and_then(|s| s.includes.as_deref());
    let mut open: Vec<&str> = includes(start).into_iter().flatten().map(String::as_str).collect();
    let mut seen = Vec::new();
    while let Some(name) = open.pop() {
        if name == start {
            return true;
        }
        if !seen.contains(&name) {
            seen.push(name);
            open.extend(includes(name).into_iter().flatten().map(String::as_str));
        }
    }
    false
}

fn known(checks: &mut Checks<'_>, field: &str, named: &[String], names: &[&str]) {
    for name in named.iter().filter(|name| !names.contains(&name.as_str())) {
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        checks.invalid(field, format!("there is no scope \"{name}\"; spec.scopes has {found}"));
    }
}

fn tools_good(checks: &mut Checks<'_>, scopes: &[ScopeConfig]) {
    let names: Vec<&str> = scopes.iter().map(|scope| scope.name.as_str()).collect();
    let server = checks.server;
    for (at, backend) in server.spec.backends.iter().enumerate() {
        let rules = backend.tools.iter().flat_map(|tools| tools.scopes.iter().flatten());
        for (index, rule) in rules.enumerate() {
            known(checks, &format!("spec.backends[{at}].tools.scopes[{index}].scopes"), &rule.scopes, &names);
        }
    }
}

/// What the gateway is told of a backend's tools.
pub(super) fn tools(tools: Option<&Tools>) -> ToolsConfig {
    let Tools { allow, deny, scopes } = tools.cloned().unwrap_or_default();
    let rules = scopes.unwrap_or_default().into_iter();
    ToolsConfig {
        allow: allow.unwrap_or_else(|| ToolsConfig::default().allow),
        deny: deny.unwrap_or_default(),
        scopes: rules.map(|rule| ToolScopesConfig { tools: rule.tools, scopes: rule.scopes }).collect(),
    }
}
