//! Every CEL rule accepts and refuses what it should. A rule without a refusing case fails the last test.

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

#[test]
fn every_rule_has_a_message_and_a_refusing_case() {
    fn messages(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                for rule in
                    fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
                {
                    found.push(rule["message"].as_str().unwrap_or_default().to_owned());
                }
                fields.values().for_each(|v| messages(v, found));
            }
            Value::Array(items) => items.iter().for_each(|v| messages(v, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    messages(&serde_json::to_value(definitions()).unwrap(), &mut found);
    assert!(found.len() > 30, "{}", found.len());
    let cases: Vec<String> = rules().refused.into_iter().map(|r| r.message).collect();
    for message in found {
        assert!(
            cases.iter().any(|words| message.contains(words.as_str())),
            "no refusing case for: {message}"
        );
    }
}
