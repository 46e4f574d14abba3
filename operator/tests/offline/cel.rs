//! Every CEL rule accepts and refuses what it should. A rule without an accepting and a refusing case fails the last
//! tests.

use std::collections::{BTreeMap, BTreeSet};

use gatehouse_operator::{admission, crd::definitions};
use serde::Deserialize;
use serde_json::{Value, json};

/// The table that the suite on a real API server applies too.
#[derive(Deserialize)]
struct Rules {
    good: Vec<Value>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    kind: String,
    at: String,
    value: Value,
    message: String,
}

fn rules() -> Rules {
    serde_saphyr::from_str(include_str!("../rules.yaml")).unwrap()
}

impl Rules {
    fn good(&self, kind: &str) -> Value {
        self.good.iter().find(|g| g["kind"] == kind).cloned().unwrap()
    }
}

/// What admission says of a value.
fn said(value: &Value) -> Vec<String> {
    let source = admission::Source { name: "a.json".to_owned(), text: value.to_string() };
    admission::read(&[source]).err().into_iter().flatten().map(|f| f.message).collect()
}

fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match (parent, field.parse::<usize>()) {
        (Value::Array(items), Ok(index)) => items[index] = value,
        (Value::Object(fields), _) if value.is_null() => drop(fields.remove(field)),
        (parent, _) => parent[field] = value,
    }
}

#[test]
fn what_is_good_is_accepted() {
    let rules = rules();
    for good in &rules.good {
        assert_eq!(said(good), Vec::<String>::new());
    }
    let mut local = rules.good("McpServer");
    set(&mut local, "/spec/url", json!("http://localhost:8080/mcp"));
    set(&mut local, "/spec/issuer", Value::Null);
    assert_eq!(said(&local), Vec::<String>::new());
}

#[test]
fn what_breaks_a_rule_is_refused_in_its_words() {
    let rules = rules();
    for Refused { kind, at, value, message } in &rules.refused {
        let mut object = rules.good(kind);
        set(&mut object, at, value.clone());
        let found = said(&object);
        assert!(found.iter().any(|m| m.contains(message)), "{at} = {value}: {message}\n{found:#?}");
    }
}

/// A rule, by the kind and the path of what it is about, such as `spec.access.deny[]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    kind: String,
    path: String,
    message: String,
}

/// Every rule of our definitions.
fn every_rule() -> Vec<Rule> {
    fn walk(kind: &str, path: &str, schema: &Value, found: &mut Vec<Rule>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().unwrap_or_default().to_owned();
            found.push(Rule { kind: kind.to_owned(), path: path.to_owned(), message });
        }
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            walk(kind, &below(path, name), field, found);
        }
        for (part, step) in [("items", "[]"), ("additionalProperties", ".*")] {
            if let Some(schema) = schema.get(part) {
                walk(kind, &format!("{path}{step}"), schema, found);
            }
        }
    }
    let mut found = Vec::new();
    for definition in definitions() {
        let schema = &serde_json::to_value(&definition.spec.versions[0].schema).unwrap()["openAPIV3Schema"];
        walk(&definition.spec.names.kind, "", schema, &mut found);
    }
    found
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The paths at which an object has a value.
fn paths(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| paths(&below(path, name), field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| paths(&format!("{path}[]"), item, found)),
        _ => {}
    }
}

/// By the very place of each: several rules say the same words.
#[test]
fn every_rule_has_a_message_and_a_refusing_case() {
    let (table, mut refused) = (rules(), BTreeSet::new());
    for Refused { kind, at, value, .. } in &table.refused {
        let mut object = table.good(kind);
        set(&mut object, at, value.clone());
        refused.extend(said(&object).iter().map(|message| (kind.clone(), without_indices(message))));
    }
    let all = every_rule();
    assert!(all.len() > 30, "{}", all.len());
    for Rule { kind, path, message } in all {
        assert!(!message.is_empty(), "{kind}: {path}");
        let at = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let said = (kind, format!("{at}Invalid value: {message}"));
        assert!(refused.contains(&said), "no refusing case for: {said:?}");
    }
}

/// A message with `[]` for each `[0]`.
fn without_indices(message: &str) -> String {
    let mut parts = message.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "[" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// A rule that nothing good reaches may refuse everything.
#[test]
fn every_rule_has_an_accepting_case() {
    let mut accepted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for good in rules().good.iter().chain(&examples()) {
        let kind = good["kind"].as_str().unwrap_or_default().to_owned();
        paths("", good, accepted.entry(kind).or_default());
    }
    for Rule { kind, path, message } in every_rule() {
        assert!(accepted[&kind].contains(&path), "nothing good has {kind} {path}: {message}");
    }
}

/// The examples, which other tests accept here and on the real API server: of alternatives the table holds but one.
fn examples() -> Vec<Value> {
    let mut found = Vec::new();
    for file in crate::examples::examples() {
        let text = std::fs::read_to_string(file).unwrap();
        let documents = text.split("\n---").filter(|d| d.lines().any(|line| line.starts_with("kind:")));
        found.extend(documents.map(|document| serde_saphyr::from_str::<Value>(document).unwrap()));
    }
    found
}
