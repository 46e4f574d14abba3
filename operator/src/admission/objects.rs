//! From documents to typed objects.

use std::sync::LazyLock;

use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::ResourceExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Finding, Located, Manifests, document::Document, metadata, schema};
use crate::crd::{GROUP, VERSION, definitions};

/// The namespace of objects that name none, as kubectl has it.
const DEFAULT_NAMESPACE: &str = "default";

/// The schemas of our kinds, by kind.
static SCHEMAS: LazyLock<Vec<(String, Value)>> = LazyLock::new(|| {
    definitions()
        .into_iter()
        .filter_map(|definition| {
            let version = definition.spec.versions.into_iter().next()?;
            let schema = serde_json::to_value(version.schema?.open_api_v3_schema?).ok()?;
            Some((definition.spec.names.kind, schema))
        })
        .collect()
});

/// The schema of one of our kinds.
pub(super) fn schema(kind: &str) -> Option<&'static Value> {
    SCHEMAS.iter().find(|(name, _)| *name == kind).map(|(_, schema)| schema)
}

/// Takes a document, or the items of a `List`, into the manifests, or says what is wrong with it.
pub(super) fn admit(document: &Document, manifests: &mut Manifests, findings: &mut Vec<Finding>) {
    for item in document.items() {
        let before = findings.len();
        one(item, manifests, findings);
        findings[before..].sort_by_key(|f| f.origin.line);
    }
}

fn one(mut document: Document, manifests: &mut Manifests, findings: &mut Vec<Finding>) {
    let text = |field: &str| document.value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if kind.is_empty() || version.is_empty() {
        let field = if kind.is_empty() { "kind" } else { "apiVersion" };
        findings.push(finding(&document, "", field, &format!("Required value: Object '{field}' is missing")));
        return;
    }
    let ours = format!("{GROUP}/{VERSION}");
    let schema = schema(&kind).filter(|_| version == ours);
    let known =
        schema.is_some() || (version == "v1" && matches!(kind.as_str(), "Secret" | "ConfigMap" | "Service"));
    if !known {
        if version.starts_with(&format!("{GROUP}/")) {
            let message = format!(
                "no matches for kind \"{kind}\" in version \"{version}\"; there are McpServer and OAuthClientPolicy in {ours}"
            );
            findings.push(finding(&document, "", "kind", &message));
        }
        return;
    }
    let name =
        document.value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let object = format!("{kind} \"{}\"", name.escape_debug());
    let mut wrong = metadata::check(&document.value);
    if let Some(schema) = schema {
        match schema::check(schema, document.value.clone()) {
            Ok(value) => document.value = value,
            Err(more) => wrong.extend(more),
        }
    }
    if !wrong.is_empty() {
        findings.extend(wrong.iter().map(|(path, message)| finding(&document, &object, path, message)));
        return;
    }
    if document.value.pointer("/metadata/namespace").is_none() {
        document.value["metadata"]["namespace"] = json!(DEFAULT_NAMESPACE);
    }
    if let Err((path, message)) = keep(&document, &kind, manifests) {
        findings.push(finding(&document, &object, &path, &message));
    }
}

fn keep(document: &Document, kind: &str, manifests: &mut Manifests) -> Result<(), schema::Wrong> {
    match kind {
        "McpServer" => push(document, &mut manifests.servers),
        "OAuthClientPolicy" => push(document, &mut manifests.policies),
        "ConfigMap" => push(document, &mut manifests.config_maps),
        "Service" => push(document, &mut manifests.services),
        _ => {
            push(document, &mut manifests.secrets)?;
            manifests.secrets.last_mut().into_iter().for_each(merge_string_data);
            Ok(())
        }
    }
}

fn push<T>(document: &Document, list: &mut Vec<Located<T>>) -> Result<(), schema::Wrong>
where
    T: DeserializeOwned + ResourceExt,
{
    let object: T = serde_json::from_value(document.value.clone())
        // The message of a Secret could quote what it holds.
        .map_err(|e| {
            (
                String::new(),
                if std::any::type_name::<T>().ends_with("Secret") {
                    "data must be base64, and stringData text".to_owned()
                } else {
                    format!("Invalid value: {e}")
                },
            )
        })?;
    let same = |o: &T| o.name_any() == object.name_any() && o.namespace() == object.namespace();
    if let Some(first) = list.iter().find(|l| same(&l.object)) {
        return Err(("metadata.name".to_owned(), format!("already exists: {}", first.origin)));
    }
    list.push(Located { origin: document.origin_of(""), object });
    Ok(())
}

/// The API server writes `stringData` over `data`.
fn merge_string_data(secret: &mut Located<Secret>) {
    let texts = secret.object.string_data.take().unwrap_or_default();
    let data = secret.object.data.get_or_insert_default();
    data.extend(texts.into_iter().map(|(key, text)| (key, ByteString(text.into_bytes()))));
}

fn finding(document: &Document, object: &str, path: &str, message: &str) -> Finding {
    let unknown = message.starts_with("unknown field") || path.is_empty();
    Finding {
        origin: document.origin_of(path),
        object: object.to_owned(),
        message: if unknown { message.to_owned() } else { format!("{path}: {message}") },
    }
}
