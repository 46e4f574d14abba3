//! One of our own kinds against its schema, in the order of the API server: unknown fields, nulls, defaults, JSON
//! Schema, keys of list-maps, and then, where all of that is good, the CEL rules.

use std::collections::BTreeSet;

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind},
    paths::LocationSegment,
};
use kube::core::cel::{Validator, apply_defaults};
use serde_json::{Map, Value, json};

/// What is wrong with a field: its path, and the message.
pub(super) type Wrong = (String, String);

/// Checks a value, and gives it back without nulls and with the defaults of the schema.
pub(super) fn check(schema: &Value, mut value: Value) -> Result<Value, Vec<Wrong>> {
    let mut unknown = Vec::new();
    unknown_fields(schema, &value, "", &mut unknown);
    prune_nulls(&mut value);
    let value = apply_defaults(schema, &value);
    let mut wrong = json_schema(schema, &value);
    list_maps(schema, &value, "", &mut wrong);
    // Rules are for values of the right shape; a field too many is no reason to keep back what they say.
    if wrong.is_empty()
        && let Err(errors) = Validator::new().validate(schema, &value, None)
    {
        wrong.extend(errors.into_vec().into_iter().map(|e| {
            let path = e.field_path.trim_start_matches('.').to_owned();
            let message = format!("Invalid value: {}", e.message);
            (path, message)
        }));
    }
    unknown.extend(wrong);
    if unknown.is_empty() { Ok(value) } else { Err(unknown) }
}

fn child(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Fields that the schema does not know. With strict validation, kubectl's default, the API server refuses them.
fn unknown_fields(schema: &Value, value: &Value, path: &str, wrong: &mut Vec<Wrong>) {
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true)) {
        return;
    }
    match value {
        Value::Object(fields) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let others = schema.get("additionalProperties").filter(|s| s.is_object());
            for (name, field) in fields {
                let path = child(path, name);
                if let Some(schema) = properties.and_then(|p| p.get(name)).or(others) {
                    unknown_fields(schema, field, &path, wrong);
                } else if !matches!(path.as_str(), "apiVersion" | "kind" | "metadata") {
                    wrong.push((path.clone(), format!("unknown field \"{}\"", path.escape_debug())));
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.get("items") else { return };
            for (index, item) in items.iter().enumerate() {
                unknown_fields(schema, item, &format!("{path}[{index}]"), wrong);
            }
        }
        _ => {}
    }
}

/// The API server drops a null whose field is not nullable, and none of ours is.
fn prune_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(prune_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

fn json_schema(schema: &Value, value: &Value) -> Vec<Wrong> {
    let validator = match jsonschema::validator_for(&typed(schema.clone())) {
        Ok(validator) => validator,
        Err(error) => {
            return vec![(String::new(), format!("the schema of this kind cannot be used: {error}"))];
        }
    };
    let mut wrong: Vec<Wrong> = validator.iter_errors(value).map(|e| worded(&e)).collect();
    // A pattern says nothing new of a text that is too long or too short.
    let lengths: BTreeSet<String> =
        wrong.iter().filter(|(_, m)| m.starts_with("Too ")).map(|(p, _)| p.clone()).collect();
    wrong.retain(|(path, message)| message.starts_with("Too ") || !lengths.contains(path));
    wrong
}

/// The dialect of CRDs as JSON Schema: `x-kubernetes-int-or-string` stands for a type.
fn typed(mut schema: Value) -> Value {
    fn walk(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                if fields.remove("x-kubernetes-int-or-string") == Some(json!(true)) {
                    fields.insert("type".to_owned(), json!(["integer", "string"]));
                }
                fields.values_mut().for_each(walk);
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    walk(&mut schema);
    schema
}

/// An error in the words of the API server.
fn worded(error: &ValidationError<'_>) -> Wrong {
    let mut path = String::new();
    for segment in error.instance_path() {
        match segment {
            LocationSegment::Property(name) => path = child(&path, &name),
            LocationSegment::Index(index) => path = format!("{path}[{index}]"),
        }
    }
    let found = short(error.instance());
    let message = match error.kind() {
        ValidationErrorKind::Required { property } => {
            return (child(&path, property.as_str().unwrap_or_default()), "Required value".to_owned());
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(short).collect();
            format!("Unsupported value: {found}: supported values: {}", options.join(", "))
        }
        ValidationErrorKind::MaxItems { limit } => {
            let count = error.instance().as_array().map_or(0, Vec::len);
            format!("Too many: {count}: must have at most {limit} items")
        }
        ValidationErrorKind::MaxProperties { limit } => format!("Too many: must have at most {limit} items"),
        ValidationErrorKind::MaxLength { limit } => {
            format!("Too long: may not be more than {limit} bytes")
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!("Invalid value: {found}: {path} in body should match '{pattern}'")
        }
        ValidationErrorKind::Minimum { limit } => {
            format!(
                "Invalid value: {found}: {path} in body should be greater than or equal to {}",
                whole(limit)
            )
        }
        ValidationErrorKind::Maximum { limit } => {
            format!("Invalid value: {found}: {path} in body should be less than or equal to {}", whole(limit))
        }
        ValidationErrorKind::MinLength { limit } => {
            format!("Invalid value: {found}: {path} in body should be at least {limit} chars long")
        }
        ValidationErrorKind::MinItems { limit } => {
            let count = error.instance().as_array().map_or(0, Vec::len);
            format!("Invalid value: {count}: {path} in body should have at least {limit} items")
        }
        ValidationErrorKind::Type { kind } => {
            let wanted = match kind {
                TypeKind::Single(wanted) => wanted.to_string(),
                TypeKind::Multiple(_) => "integer or string".to_owned(),
            };
            let is = type_name(error.instance());
            format!("Invalid value: \"{is}\": {path} in body must be of type {wanted}: \"{is}\"")
        }
        _ => format!("Invalid value: {found}: {error}"),
    };
    (path, message)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Bounds are stored as floating-point numbers and mean whole ones.
fn whole(limit: &Value) -> String {
    limit.to_string().trim_end_matches(".0").to_owned()
}

/// A value as a message shows it: objects and lists by their kind, texts in part.
fn short(value: &Value) -> String {
    match value {
        Value::Object(_) => "\"object\"".to_owned(),
        Value::Array(_) => "\"array\"".to_owned(),
        Value::String(text) if text.chars().count() > 80 => {
            format!("\"{}…\"", text.chars().take(80).collect::<String>().escape_debug())
        }
        other => other.to_string(),
    }
}

/// Items of a list-map with the same key.
fn list_maps(schema: &Value, value: &Value, path: &str, wrong: &mut Vec<Wrong>) {
    match value {
        Value::Object(fields) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let others = schema.get("additionalProperties").filter(|s| s.is_object());
            for (name, field) in fields {
                if let Some(schema) = properties.and_then(|p| p.get(name)).or(others) {
                    list_maps(schema, field, &child(path, name), wrong);
                }
            }
        }
        Value::Array(items) => {
            let keys: Vec<&str> = schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                if !keys.is_empty() {
                    let key: Map<String, Value> = keys
                        .iter()
                        .filter_map(|k| item.get(k).map(|v| ((*k).to_owned(), v.clone())))
                        .collect();
                    let key = Value::Object(key).to_string();
                    if !seen.insert(key.clone()) {
                        wrong.push((path.clone(), format!("Duplicate value: {key}")));
                    }
                }
                if let Some(schema) = schema.get("items") {
                    list_maps(schema, item, &path, wrong);
                }
            }
        }
        _ => {}
    }
}
