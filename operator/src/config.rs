//! The operator's configuration file, read by `gatehouse run`, `dev` and `render`.

mod check;
mod issuer;
mod policy;
mod redis;

use std::collections::BTreeMap;

use gatehouse_gateway_config::EgressConfig;
use serde::{Deserialize, Serialize};

pub use self::{
    check::ConfigError,
    issuer::{IssuerPattern, endpoint},
    policy::{LifetimeCeilings, PolicyCeilings, PolicySettings, PolicyTerms},
    redis::{RedisSettings, RedisTls, RedisUsers},
};
use crate::{
    crd::{
        primitive::{Mode, ResourceQuantity},
        server_gateway::Resources,
    },
    server::names::short_hash,
};

/// The image that is used when the configuration names none.
pub const DEFAULT_IMAGE: &str = concat!("ghcr.io/gatehouse-dev/gateway:", env!("CARGO_PKG_VERSION"));

/// The operator's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorConfig {
    /// The Redis that all gateways share.
    pub redis: RedisSettings,
    /// What all gateways have in common.
    #[serde(default)]
    pub gateway: GatewaySettings,
    /// Which hosts a tenant may use.
    #[serde(default)]
    pub hosts: HostSettings,
    /// Which ways to sign in a tenant may use.
    #[serde(default)]
    pub identity: IdentitySettings,
    /// Which destinations that are not globally routable gateways may connect to.
    #[serde(default)]
    pub egress: EgressConfig,
    /// How many gateways roll at once when the operator itself is the cause.
    #[serde(default)]
    pub rollouts: RolloutSettings,
    /// OAuth client policies.
    #[serde(default)]
    pub policy: PolicySettings,
    /// Which McpServers the operator looks at.
    #[serde(default)]
    pub watch: WatchSettings,
}

/// What all gateways have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct GatewaySettings {
    /// The gateway's image, best by digest.
    pub image: String,
    /// When it is pulled. Absent: Kubernetes' default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<String>,
    /// Secrets, in each tenant's namespace, with which the image is pulled.
    pub image_pull_secrets: Vec<String>,
    /// How many pods a server has that does not say.
    pub replicas: i32,
    /// Requests and limits of a server that does not say.
    pub resources: Resources,
    /// Networks (CIDR) of the proxies in front, whose `X-Forwarded-For` names the client.
    pub trusted_proxies: Vec<String>,
    /// Whether a tenant may set tolerations.
    pub allow_tolerations: bool,
    /// Whether the affinity of a tenant's pods may be to pods of other namespaces, which keeps those, too, from where such
    /// a pod runs.
    pub allow_cross_namespace_affinity: bool,
    /// The priority classes that a tenant may set.
    pub allowed_priority_classes: Vec<String>,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        let requests = [("cpu", "25m"), ("memory", "32Mi")];
        let limits = [("memory", "256Mi")];
        let map = |entries: &[(&str, &str)]| -> BTreeMap<String, ResourceQuantity> {
            entries.iter().map(|(k, v)| ((*k).to_owned(), ResourceQuantity((*v).to_owned()))).collect()
        };
        Self {
            image: DEFAULT_IMAGE.to_owned(),
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            replicas: 2,
            resources: Resources { requests: map(&requests), limits: map(&limits) },
            trusted_proxies: Vec::new(),
            allow_tolerations: true,
            allow_cross_namespace_affinity: false,
            allowed_priority_classes: Vec::new(),
        }
    }
}

/// Which hosts a tenant may use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostSettings {
    /// Patterns of hosts: `*` is one label, `{namespace}` the namespace. Empty: every host. Loopback hosts are exempt.
    pub allow: Vec<String>,
    /// Hosts (the same patterns) that several namespaces may share: one browser origin, whose cookies and pages reach
    /// each other.
    pub shared: Vec<String>,
}

/// Which ways to sign in a tenant may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct IdentitySettings {
    /// The issuers (oidc) and the origins of all endpoints (oauth2) that are allowed, see [`IssuerPattern`]. Empty: all.
    pub allowed_issuers: Vec<String>,
    /// Whether `identity.local` may be used.
    pub local: Mode,
}

impl Default for IdentitySettings {
    fn default() -> Self {
        Self { allowed_issuers: Vec::new(), local: Mode::Allowed }
    }
}

/// How many gateways roll at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RolloutSettings {
    /// At most this many, when the operator itself (its image, its defaults) is the cause. Edits never wait.
    pub max_concurrent: u32,
}

impl Default for RolloutSettings {
    fn default() -> Self {
        Self { max_concurrent: 10 }
    }
}

/// Which McpServers the operator looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WatchSettings {
    /// The namespaces; empty: all. At most 10, and then `hosts.allow` is mandatory.
    pub namespaces: Vec<String>,
    /// Only McpServers with these labels (the syntax of `kubectl -l`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
}

impl OperatorConfig {
    /// A hash of all that decides, besides a server and its policy, what is rendered for it.
    pub fn defaults_hash(&self) -> String {
        let Self { redis, gateway, egress, policy, hosts: _, identity: _, rollouts: _, watch: _ } = self;
        let rendered = (env!("CARGO_PKG_VERSION"), redis, gateway, egress, policy);
        // Plain data with text keys always serializes.
        short_hash(&serde_json::to_vec(&rendered).unwrap_or_default(), 16)
    }

    /// What `gatehouse dev` and `gatehouse render` take where no file is given: the defaults, and a Redis that stands
    /// for the one of the cluster.
    pub fn offline() -> Self {
        Self {
            redis: RedisSettings {
                url: "redis://redis:6379".to_owned(),
                nodes: Vec::new(),
                key_prefix: redis::default_key_prefix(),
                users: RedisUsers::default(),
                username_file: None,
                password_file: None,
                tls: None,
                min_replicas: None,
            },
            gateway: GatewaySettings::default(),
            hosts: HostSettings::default(),
            identity: IdentitySettings::default(),
            egress: EgressConfig::default(),
            rollouts: RolloutSettings::default(),
            policy: PolicySettings::default(),
            watch: WatchSettings::default(),
        }
    }
}
