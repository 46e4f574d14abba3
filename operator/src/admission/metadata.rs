//! The names of objects, as the API server checks them for every kind.

use serde_json::Value;

/// The fields of metadata.
const KNOWN: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// What is wrong with the metadata of an object: path and message.
pub(super) fn check(value: &Value) -> Vec<(String, String)> {
    let Some(metadata) = value.get("metadata").and_then(Value::as_object) else {
        return vec![("metadata.name".to_owned(), "Required value: name is required".to_owned())];
    };
    let mut wrong = Vec::new();
    for key in metadata.keys().filter(|k| !KNOWN.contains(&k.as_str())) {
        wrong.push((format!("metadata.{key}"), format!("unknown field \"metadata.{}\"", key.escape_debug())));
    }
    match metadata.get("name").and_then(Value::as_str) {
        None | Some("") => wrong.push(("metadata.name".to_owned(), "Required value: name is required".to_owned())),
        Some(name) if !is_subdomain(name) => wrong.push((
            "metadata.name".to_owned(),
            format!(
                "Invalid value: \"{}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                 '-' or '.', and must start and end with an alphanumeric character",
                name.escape_debug()
            ),
        )),
        Some(_) => {}
    }
    if let Some(namespace) = metadata.get("namespace").and_then(Value::as_str)
        && !is_label(namespace)
    {
        wrong.push((
            "metadata.namespace".to_owned(),
            format!(
                "Invalid value: \"{}\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or \
                 '-', and must start and end with an alphanumeric character",
                namespace.escape_debug()
            ),
        ));
    }
    wrong
}

fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

fn is_part(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
