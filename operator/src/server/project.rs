//! What of a live object is ours: the object projected on our own `fieldsV1`, as a digest.
//!
//! Server-side apply records which fields a manager set. The digest of just those, with their live values, equals the
//! digest of the desired object exactly when applying it would change nothing. Then it is not applied: a restart over
//! ten thousand servers writes nothing.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The digest of an object's own part.
pub type Digest = [u8; 32];

/// The digest of an object that is about to be applied.
pub fn of_desired(object: &Value) -> Digest {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        // What identifies the object, and the precondition, are no fields of a manager.
        for identity in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            metadata.remove(identity);
        }
    }
    digest(&object)
}

/// The digest of a live object, on the fields that `manager` applied. `None` when it applied nothing.
pub fn of_live(object: &Value, fields: &[ManagedFieldsEntry], manager: &str) -> Option<Digest> {
    let entry = fields.iter().find(|entry| {
        entry.manager.as_deref() == Some(manager)
            && entry.operation.as_deref() == Some("Apply")
            && entry.subresource.as_deref().unwrap_or_default().is_empty()
    })?;
    Some(digest(&project(object, &entry.fields_v1.as_ref()?.0)))
}

/// The part of `live` that `fields` (a node of `fieldsV1`) names.
fn project(live: &Value, fields: &Value) -> Value {
    let Some(fields) = fields.as_object() else { return live.clone() };
    if !fields.keys().any(|key| key != ".") {
        // A leaf: the whole value is the manager's.
        return live.clone();
    }
    match live {
        Value::Object(map) => Value::Object(project_map(map, fields)),
        Value::Array(items) => Value::Array(
            items.iter().enumerate().filter_map(|(i, item)| project_item(i, item, fields)).collect(),
        ),
        other => other.clone(),
    }
}

fn project_map(live: &Map<String, Value>, fields: &Map<String, Value>) -> Map<String, Value> {
    let owned = fields.iter().filter_map(|(key, below)| {
        let name = key.strip_prefix("f:")?;
        Some((name.to_owned(), project(live.get(name)?, below)))
    });
    owned.collect()
}

fn project_item(index: usize, item: &Value, fields: &Map<String, Value>) -> Option<Value> {
    fields.iter().find_map(|(key, below)| {
        let matches = if let Some(keys) = key.strip_prefix("k:") {
            let keys: Map<String, Value> = serde_json::from_str(keys).ok()?;
            keys.iter().all(|(name, value)| item.get(name) == Some(value))
        } else if let Some(value) = key.strip_prefix("v:") {
            serde_json::from_str::<Value>(value).ok()? == *item
        } else {
            key.strip_prefix("i:")?.parse() == Ok(index)
        };
        matches.then(|| project(item, below))
    })
}

fn digest(value: &Value) -> Digest {
    let mut text = String::new();
    write_canonical(value, &mut text);
    Sha256::digest(text.as_bytes()).into()
}

/// JSON with sorted keys, without what is empty (the server drops it), and with lists of objects in a fixed order:
/// such lists are maps to server-side apply, and other managers' items may stand between ours.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().filter(|(_, v)| !is_empty(v)).collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_canonical(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            let mut texts: Vec<String> = items.iter().map(canonical).collect();
            if items.iter().all(Value::is_object) {
                texts.sort_unstable();
            }
            out.push('[');
            for text in texts {
                out.push_str(&text);
                out.push(',');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::FieldsV1;
    use serde_json::json;

    use super::*;

    fn managed(manager: &str, operation: &str, fields: Value) -> ManagedFieldsEntry {
        ManagedFieldsEntry {
            manager: Some(manager.to_owned()),
            operation: Some(operation.to_owned()),
            fields_v1: Some(FieldsV1(fields)),
            ..ManagedFieldsEntry::default()
        }
    }

    fn desired() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "a", "namespace": "b", "labels": { "x": "1" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "K", "name": "n", "uid": "u" }] },
            "spec": { "replicas": 2, "template": { "spec": { "containers": [
                { "name": "gateway", "image": "i", "ports": [{ "containerPort": 80, "name": "http" }],
                  "args": ["a", "b"], "env": [] }
            ], "volumes": [{ "name": "tmp", "emptyDir": {} }] } } }
        })
    }

    fn fields() -> Value {
        json!({
            "f:metadata": { "f:labels": { "f:x": {} }, "f:ownerReferences": { "k:{\"uid\":\"u\"}": {} } },
            "f:spec": { "f:replicas": {}, "f:template": { "f:spec": {
                "f:containers": { "k:{\"name\":\"gateway\"}": { ".": {}, "f:name": {}, "f:image": {}, "f:args": {},
                    "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}":
                        { ".": {}, "f:containerPort": {}, "f:name": {} } } } },
                "f:volumes": { "k:{\"name\":\"tmp\"}": { ".": {}, "f:name": {}, "f:emptyDir": {} } }
            } } }
        })
    }

    /// As the server stores it: with defaults, another manager's label and sidecar, and a status.
    fn live() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "a", "namespace": "b", "uid": "z", "labels": { "x": "1", "theirs": "2" },
                "ownerReferences": [{ "apiVersion": "v1", "kind": "K", "name": "n", "uid": "u" }] },
            "spec": { "replicas": 2, "revisionHistoryLimit": 10, "template": { "spec": { "containers": [
                { "name": "sidecar", "image": "s" },
                { "name": "gateway", "image": "i", "imagePullPolicy": "Always", "args": ["a", "b"],
                  "ports": [{ "containerPort": 80, "name": "http", "protocol": "TCP" }] }
            ], "volumes": [{ "name": "tmp", "emptyDir": {} }] } } },
            "status": { "replicas": 2 }
        })
    }

    #[test]
    fn defaults_and_other_managers_do_not_count() {
        let entries =
            [managed("helm", "Apply", json!({ "f:spec": {} })), managed("gatehouse", "Apply", fields())];
        assert_eq!(of_live(&live(), &entries, "gatehouse"), Some(of_desired(&desired())));
    }

    #[test]
    fn a_changed_or_removed_or_lost_field_counts() {
        let entries = [managed("gatehouse", "Apply", fields())];
        let mut changed = live();
        changed["spec"]["replicas"] = json!(3);
        let mut removed = live();
        removed["metadata"]["labels"].as_object_mut().unwrap().remove("x");
        let mut reordered = live();
        reordered["spec"]["template"]["spec"]["containers"][1]["args"] = json!(["b", "a"]);
        for live in [changed, removed, reordered] {
            assert_ne!(of_live(&live, &entries, "gatehouse"), Some(of_desired(&desired())));
        }
        // Another manager took a field over: the server struck it from our entry.
        let mut fewer = fields();
        fewer["f:spec"].as_object_mut().unwrap().remove("f:replicas");
        let entries = [managed("gatehouse", "Apply", fewer)];
        assert_ne!(of_live(&live(), &entries, "gatehouse"), Some(of_desired(&desired())));
    }

    #[test]
    fn an_object_that_we_never_applied_has_no_digest() {
        assert_eq!(of_live(&live(), &[managed("gatehouse", "Update", fields())], "gatehouse"), None);
    }

    #[test]
    fn a_field_that_is_no_longer_desired_counts() {
        let entries = [managed("gatehouse", "Apply", fields())];
        let mut less = desired();
        less["spec"].as_object_mut().unwrap().remove("replicas");
        assert_ne!(of_live(&live(), &entries, "gatehouse"), Some(of_desired(&less)));
    }
}
