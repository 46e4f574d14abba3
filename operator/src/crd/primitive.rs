//! Types that several fields share.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use gatehouse_gateway_config::{KeyRef, RefKind, duration};
use kube::{KubeSchema, core::Rule};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The pattern of `https` URLs, and of `http` ones on the loopback interface: no user-info, query or fragment.
pub const URL_PATTERN: &str = r"^(https://([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*|\[[0-9a-f:.]+\])|http://(localhost|127\.0\.0\.1|\[::1\]))(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*$";

/// The rule of `spec.url` and `spec.issuer`: [`URL_PATTERN`] with a message that people understand.
pub(super) fn url_rule(field: &str) -> Rule {
    let message = format!(
        "{field} must be https (http only for localhost, 127.0.0.1 and [::1]), with a lower-case host and without user name, \
         query, fragment, encoded character or slash at its end"
    );
    Rule::new(format!("self.matches(r\"{URL_PATTERN}\")")).message(message.as_str())
}

/// A duration as GEP-2257 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GepDuration(#[serde(with = "duration::serde")] pub Duration);

impl GepDuration {
    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl std::fmt::Display for GepDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&duration::format(self.0))
    }
}

impl JsonSchema for GepDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": duration::PATTERN, "maxLength": 28 })
    }
}

/// A quantity as Kubernetes writes it; a plain number is read too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ResourceQuantity(pub String);

impl<'de> Deserialize<'de> for ResourceQuantity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum TextOrNumber {
            Text(String),
            Number(i64),
            Fraction(f64),
        }
        Ok(Self(match TextOrNumber::deserialize(deserializer)? {
            TextOrNumber::Text(text) => text,
            TextOrNumber::Number(number) => number.to_string(),
            TextOrNumber::Fraction(number) => number.to_string(),
        }))
    }
}

impl JsonSchema for ResourceQuantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": r"^([0-9]{1,15}(\.[0-9]{1,9})?)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$",
        })
    }
}

/// One key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in the Secret's data.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

impl SecretKeyRef {
    /// The reference as the gateway's configuration holds it.
    pub fn key_ref(&self) -> KeyRef {
        KeyRef::secret(&self.name, &self.key)
    }
}

/// A Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// The kind of the object that holds a CA certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CaKind {
    /// A `ConfigMap`.
    #[default]
    ConfigMap,
    /// A Secret.
    Secret,
}

/// CA certificates (PEM) in a ConfigMap or Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// The object's kind. Absent: ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<CaKind>,
    /// The object's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
    /// The key in its data. Absent: ca.crt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

impl CaRef {
    /// The reference as the gateway's configuration holds it.
    pub fn key_ref(&self) -> KeyRef {
        let kind = match self.kind.unwrap_or_default() {
            CaKind::ConfigMap => RefKind::ConfigMap,
            CaKind::Secret => RefKind::Secret,
        };
        let key = self.key.clone().unwrap_or_else(|| "ca.crt".to_owned());
        KeyRef { kind, name: self.name.clone(), key }
    }
}

/// Whether something is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It is.
    #[default]
    Allowed,
    /// It is not.
    Refused,
}

/// An object without fields: its presence is the choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Empty {}

/// Labels, annotations, node labels: text by text.
pub type TextMap = BTreeMap<String, String>;
