//! `McpServer.spec.gateway` and `spec.keys`: the gateway's pods and sealing keys.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, LocalObjectReference, Toleration, TopologySpreadConstraint};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::primitive::{GepDuration, ResourceQuantity, TextMap};

/// The keys that seal what a server stores.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// What happens to the generated Secret when the server is deleted. Losing it is losing every stored credential.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

/// What happens to the generated keys when their server is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are deleted, which erases what Redis still holds.
    #[default]
    Delete,
    /// They are kept.
    Retain,
}

/// The gateway's pods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("duration(self.drainPeriod) <= duration('1h')", "gateway.drainPeriod must be at most 1h"))]
pub struct Gateway {
    /// How many pods; 0 parks the server. Absent: the operator's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub replicas: Option<i32>,
    /// Requests and limits of the container. Absent: the operator's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// How long open requests and streams may go on when a pod ends.
    #[serde(default = "Gateway::default_drain_period")]
    pub drain_period: GepDuration,
    /// More of the pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodTemplate>,
}

impl Gateway {
    /// How long open requests and streams may go on by default.
    pub const fn default_drain_period() -> GepDuration {
        GepDuration::from_secs(60)
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self { replicas: None, resources: None, drain_period: Self::default_drain_period(), pod: None }
    }
}

/// Requests and limits of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What is reserved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub requests: BTreeMap<String, ResourceQuantity>,
    /// What is never exceeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub limits: BTreeMap<String, ResourceQuantity>,
}

/// The part of the pod template that a tenant decides.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// More labels. Those of gatehouse.dev and app.kubernetes.io are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = ("!self.exists(k, k.startsWith('gatehouse.dev/') || k.startsWith('app.kubernetes.io/'))", "pod.labels must not hold labels of gatehouse.dev/ or app.kubernetes.io/, which are the operator's"))]
    pub labels: TextMap,
    /// More annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: TextMap,
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: TextMap,
    /// Taints that are tolerated, where the operator allows tenants to say so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Affinity, as in a pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How pods spread, as in a pod. Absent: over zones and hosts where that is possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["topologyKey".into(), "whenUnsatisfiable".into()]))]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// The priority class, where the operator allows tenants to say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Secrets with which the image is pulled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}
