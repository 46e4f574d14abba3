//! A server that may not be one. What an older schema let in must neither stop the others nor lose what it has, so what
//! can still be read of it is kept: its name, its URLs and its status.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use crate::crd::{McpServer, McpServerStatus};

/// An McpServer, or what can be read of one.
#[derive(Debug, Clone)]
pub struct GuardedServer(pub Result<McpServer, UnreadableServer>);

/// What can be read of a server that cannot be read as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadableServer {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Why it cannot be read.
    pub error: String,
    /// Its URL, if that is a text.
    pub url: Option<String>,
    /// Its issuer, if it names one and that is a text.
    pub issuer: Option<String>,
    /// Its status, as far as it can be read.
    pub status: McpServerStatus,
}

impl GuardedServer {
    /// Its status.
    pub fn status(&self) -> Option<&McpServerStatus> {
        match &self.0 {
            Ok(server) => server.status.as_ref(),
            Err(unreadable) => Some(&unreadable.status),
        }
    }
}

impl UnreadableServer {
    fn of(value: &Value, metadata: ObjectMeta, error: String) -> Self {
        let text = |field: &str| value["spec"][field].as_str().map(str::to_owned);
        let status = value.get("status").and_then(|s| McpServerStatus::deserialize(s).ok());
        Self { metadata, error, url: text("url"), issuer: text("issuer"), status: status.unwrap_or_default() }
    }
}

impl<'de> Deserialize<'de> for GuardedServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match McpServer::deserialize(&value) {
            Ok(server) => Ok(Self(Ok(server))),
            Err(error) => {
                let metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
                Ok(Self(Err(UnreadableServer::of(&value, metadata, error.to_string()))))
            }
        }
    }
}

impl Resource for GuardedServer {
    type DynamicType = ();
    type Scope = <McpServer as Resource>::Scope;

    fn kind(dynamic: &()) -> Cow<'_, str> {
        McpServer::kind(dynamic)
    }

    fn group(dynamic: &()) -> Cow<'_, str> {
        McpServer::group(dynamic)
    }

    fn version(dynamic: &()) -> Cow<'_, str> {
        McpServer::version(dynamic)
    }

    fn plural(dynamic: &()) -> Cow<'_, str> {
        McpServer::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|unreadable| &unreadable.metadata, Resource::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|unreadable| &mut unreadable.metadata, Resource::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_it_has_is_read_although_the_rest_cannot_be() {
        let object = json!({
            "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
            "metadata": { "name": "s", "namespace": "a" },
            "spec": { "url": "https://h.example.com/mcp", "issuer": 5, "backends": "tools" },
            "status": { "issuer": "https://h.example.com", "keys": { "secret": "s-gateway-keys", "instance": "abc" } },
        });
        let broken = serde_json::from_value::<GuardedServer>(object.clone()).unwrap();
        assert_eq!(broken.meta().name.as_deref(), Some("s"));
        assert_eq!(broken.status().unwrap().issuer.as_deref(), Some("https://h.example.com"));
        let broken = broken.0.unwrap_err();
        assert_eq!((broken.url.as_deref(), broken.issuer), (Some("https://h.example.com/mcp"), None));
        let mut worse = object;
        worse["status"] = json!("none");
        let worse = serde_json::from_value::<GuardedServer>(worse).unwrap().0.unwrap_err();
        assert_eq!(worse.status, McpServerStatus::default());
    }
}
