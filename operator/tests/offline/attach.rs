//! Which policy wins for a server.

use gatehouse_operator::{
    crd::{McpServer, OAuthClientPolicy},
    policy::attach::{Outcome, attach},
};
use serde_json::{Value, json};

fn server() -> McpServer {
    serde_json::from_value(json!({
        "metadata": { "name": "github", "namespace": "team-a", "labels": { "tier": "gold", "env": "prod" } },
        "spec": { "url": "https://h.example.com/mcp", "identity": {}, "access": {}, "backends": [] } }))
    .unwrap()
}

fn policy(name: &str, created: Option<&str>, targets: &Value) -> OAuthClientPolicy {
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "team-a", "creationTimestamp": created },
        "spec": { "targetRefs": targets } }))
    .unwrap()
}

fn outcomes(policies: &[OAuthClientPolicy]) -> Vec<(String, Outcome)> {
    attach(&server(), policies).into_iter().map(|(p, o)| (p.metadata.name.clone().unwrap(), o)).collect()
}

const OLD: Option<&str> = Some("2026-01-01T00:00:00Z");
const NEW: Option<&str> = Some("2026-02-01T00:00:00Z");

#[test]
fn a_name_wins_over_a_selector_and_that_over_everything() {
    let everything = policy("everything", OLD, &json!([{ "selector": {} }]));
    let selected = policy("selected", OLD, &json!([{ "selector": { "matchLabels": { "tier": "gold" } } }]));
    let named = policy("named", NEW, &json!([{ "name": "github" }]));
    let overridden = Outcome::Overridden("named".to_owned());
    assert_eq!(
        outcomes(&[everything, selected, named]),
        [
            ("named".to_owned(), Outcome::Wins),
            ("selected".to_owned(), overridden.clone()),
            ("everything".to_owned(), overridden),
        ]
    );
}

#[test]
fn of_equals_the_older_wins_then_the_first_name() {
    let target = json!([{ "selector": {} }]);
    let conflicted = |by: &str| Outcome::Conflicted(by.to_owned());
    let found = outcomes(&[policy("a", NEW, &target), policy("b", OLD, &target)]);
    assert_eq!(found, [("b".to_owned(), Outcome::Wins), ("a".to_owned(), conflicted("b"))]);
    let found = outcomes(&[policy("b", OLD, &target), policy("a", OLD, &target)]);
    assert_eq!(found, [("a".to_owned(), Outcome::Wins), ("b".to_owned(), conflicted("a"))]);
    let found = outcomes(&[policy("a", None, &target), policy("b", NEW, &target)]);
    assert_eq!(found[0].0, "b");
}

#[test]
fn the_most_specific_target_of_a_policy_counts() {
    let both = policy("both", NEW, &json!([{ "selector": {} }, { "name": "github" }]));
    let everything = policy("everything", OLD, &json!([{ "selector": {} }]));
    assert_eq!(outcomes(&[everything, both])[0].0, "both");
}

#[test]
fn other_names_namespaces_and_labels_do_not_count() {
    let mut foreign = policy("foreign", OLD, &json!([{ "selector": {} }]));
    foreign.metadata.namespace = Some("team-b".to_owned());
    let other = policy(
        "other",
        OLD,
        &json!([{ "name": "gitlab" }, { "selector": { "matchLabels": { "tier": "silver" } } }]),
    );
    assert_eq!(outcomes(&[foreign, other]), []);
}

#[test]
fn expressions_are_those_of_kubernetes() {
    let cases = [
        (json!({ "key": "tier", "operator": "In", "values": ["gold", "silver"] }), true),
        (json!({ "key": "tier", "operator": "In", "values": ["silver"] }), false),
        (json!({ "key": "tier", "operator": "NotIn", "values": ["silver"] }), true),
        (json!({ "key": "absent", "operator": "NotIn", "values": ["silver"] }), true),
        (json!({ "key": "tier", "operator": "NotIn", "values": ["gold"] }), false),
        (json!({ "key": "tier", "operator": "Exists" }), true),
        (json!({ "key": "absent", "operator": "Exists" }), false),
        (json!({ "key": "absent", "operator": "DoesNotExist" }), true),
        (json!({ "key": "tier", "operator": "DoesNotExist" }), false),
        (json!({ "key": "tier", "operator": "Near" }), false),
    ];
    for (expression, matches) in cases {
        let selector =
            json!([{ "selector": { "matchLabels": { "env": "prod" }, "matchExpressions": [expression] } }]);
        assert_eq!(outcomes(&[policy("p", OLD, &selector)]).len(), usize::from(matches), "{expression}");
    }
}
