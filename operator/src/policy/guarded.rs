//! A policy that may not be one. What an older schema let in must neither stop the others nor open the servers that it
//! is for, so what can still be read of it is kept: its name, its targets and its status.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;

use super::attach::{Level, is_known_operator, level_of};
use crate::crd::{McpServer, OAuthClientPolicy, OAuthClientPolicyStatus, policy::TargetRef};

/// An OAuthClientPolicy, or what can be read of one.
#[derive(Debug, Clone)]
pub struct GuardedPolicy(pub Result<OAuthClientPolicy, UnreadablePolicy>);

/// What can be read of a policy that cannot be read as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct UnreadablePolicy {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Why it cannot be read.
    pub error: String,
    /// The servers that it is for; `None`: not even they can be read.
    pub target_refs: Option<Vec<TargetRef>>,
    /// Its status, as far as it can be read.
    pub status: OAuthClientPolicyStatus,
}

impl GuardedPolicy {
    /// Its status.
    pub fn status(&self) -> Option<&OAuthClientPolicyStatus> {
        match &self.0 {
            Ok(policy) => policy.status.as_ref(),
            Err(unreadable) => Some(&unreadable.status),
        }
    }
}

impl UnreadablePolicy {
    /// Whether this policy, put right, might be in force for a server for which the best one that can be read targets
    /// it at a level.
    pub fn may_win(&self, server: &McpServer, best: Option<Level>) -> bool {
        let here = self.metadata.namespace == server.namespace();
        let level = match &self.target_refs {
            Some(targets) => level_of(server, targets),
            None => Some(Level::Name),
        };
        here && level.is_some_and(|level| Some(level) >= best)
    }

    fn of(value: &Value, metadata: ObjectMeta, error: String, target_refs: Option<Vec<TargetRef>>) -> Self {
        let status = value.get("status").and_then(|s| OAuthClientPolicyStatus::deserialize(s).ok());
        Self { metadata, error, target_refs, status: status.unwrap_or_default() }
    }
}

impl<'de> Deserialize<'de> for GuardedPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match OAuthClientPolicy::deserialize(&value) {
            Ok(policy) => match unknown_operator(&policy) {
                None => Ok(Self(Ok(policy))),
                Some(operator) => {
                    let error = format!(
                        "spec.targetRefs: matchExpressions has the operator \"{}\"; there are In, NotIn, Exists and \
                         DoesNotExist",
                        operator.escape_debug()
                    );
                    Ok(Self(Err(UnreadablePolicy::of(&value, policy.metadata, error, None))))
                }
            },
            Err(error) => {
                let metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
                let targets = Vec::<TargetRef>::deserialize(&value["spec"]["targetRefs"]).ok();
                let targets = targets.filter(|t| t.iter().all(|t| bad_operator(t).is_none()));
                Ok(Self(Err(UnreadablePolicy::of(&value, metadata, error.to_string(), targets))))
            }
        }
    }
}

/// An operator that selects nothing because it is none: whom such a policy is for cannot be known.
fn unknown_operator(policy: &OAuthClientPolicy) -> Option<&str> {
    policy.spec.target_refs.iter().find_map(bad_operator)
}

fn bad_operator(target: &TargetRef) -> Option<&str> {
    let selector: &LabelSelector = target.selector.as_ref()?;
    let mut requirements = selector.match_expressions.iter().flatten();
    requirements.find(|r| !is_known_operator(&r.operator)).map(|r| r.operator.as_str())
}

impl Resource for GuardedPolicy {
    type DynamicType = ();
    type Scope = <OAuthClientPolicy as Resource>::Scope;

    fn kind(dynamic: &()) -> Cow<'_, str> {
        OAuthClientPolicy::kind(dynamic)
    }

    fn group(dynamic: &()) -> Cow<'_, str> {
        OAuthClientPolicy::group(dynamic)
    }

    fn version(dynamic: &()) -> Cow<'_, str> {
        OAuthClientPolicy::version(dynamic)
    }

    fn plural(dynamic: &()) -> Cow<'_, str> {
        OAuthClientPolicy::plural(dynamic)
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

    fn policy(spec: &Value) -> GuardedPolicy {
        let metadata = json!({ "name": "p", "namespace": "a" });
        let kind = "OAuthClientPolicy";
        let object = json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec });
        serde_json::from_value(object).unwrap()
    }

    fn server(name: &str) -> McpServer {
        serde_json::from_value(json!({
            "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
            "metadata": { "name": name, "namespace": "a" },
            "spec": { "url": "https://h.example.com/mcp", "identity": {}, "access": {}, "backends": [] },
        }))
        .unwrap()
    }

    #[test]
    fn what_it_is_for_is_read_although_the_rest_cannot_be() {
        let broken = policy(&json!({ "targetRefs": [{ "name": "one" }], "lifetimes": { "accessToken": 5 } }))
            .0
            .unwrap_err();
        assert_eq!(broken.metadata.name.as_deref(), Some("p"));
        assert!(broken.may_win(&server("one"), Some(Level::Name)));
        assert!(!broken.may_win(&server("two"), None), "it is not for that one");
        let wide = policy(&json!({ "targetRefs": [{ "selector": {} }], "lifetimes": 5 })).0.unwrap_err();
        assert!(wide.may_win(&server("one"), None));
        assert!(!wide.may_win(&server("one"), Some(Level::Name)), "a more specific one is in force anyway");
    }

    #[test]
    fn targets_that_cannot_be_read_may_be_any() {
        for targets in [json!("one"), json!(null), json!([{ "selector": 5 }])] {
            let broken = policy(&json!({ "targetRefs": targets })).0.unwrap_err();
            assert!(broken.may_win(&server("one"), Some(Level::Name)), "{targets}");
        }
        let typo = json!({ "matchExpressions": [{ "key": "tier", "operator": "in", "values": ["gold"] }] });
        let broken = policy(&json!({ "targetRefs": [{ "selector": typo }] })).0.unwrap_err();
        assert!(broken.error.contains("\"in\""), "{}", broken.error);
        assert!(broken.may_win(&server("one"), Some(Level::Name)));
    }
}
