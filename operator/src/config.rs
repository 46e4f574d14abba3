//! The operator's configuration file, read by `gatehouse run`, `dev` and `render`.

mod check;
mod issuer;

use std::{collections::BTreeMap, path::PathBuf};

use gatehouse_gateway_config::{
    EgressConfig,
    redis::{RedisTarget, RedisTargetError},
};
use serde::{Deserialize, Serialize};

pub use self::{
    check::ConfigError,
    issuer::{IssuerPattern, endpoint},
};
use crate::{
    crd::{
        policy::{Lifetimes, MetadataDocuments, PolicyScopes, RedirectUris, Registration},
        primitive::{GepDuration, Mode, ResourceQuantity},
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

/// Redis or Valkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://host:port`, `redis+sentinel://host:port,host:port/master` or `redis+cluster://host:port,host:port`, with
    /// `rediss` for TLS; without user and password. Absent with `nodes`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
    /// Some nodes (`host:port`) of a Cluster, instead of `url`; with `tls` they are spoken to over TLS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The prefix of every key of this installation.
    #[serde(default = "default_key_prefix")]
    pub key_prefix: String,
    /// Who makes the Redis user of a server.
    #[serde(default)]
    pub users: RedisUsers,
    /// A file with the user name that the operator signs in with. Absent: the user `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// A file with the password that the operator signs in with. Absent: none is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// TLS, with a `rediss` URL or with `nodes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RedisTls>,
    /// How many replicas must acknowledge a claim. Absent: one under Sentinel and Cluster, none standalone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<u32>,
}

impl RedisSettings {
    /// The one URL that says all of `url`, `nodes` and `tls`.
    pub fn url(&self) -> String {
        if self.nodes.is_empty() {
            return self.url.clone();
        }
        let scheme = if self.tls.is_some() { "rediss+cluster" } else { "redis+cluster" };
        format!("{scheme}://{}", self.nodes.join(","))
    }

    /// Where Redis is.
    ///
    /// # Errors
    /// When the settings do not say it.
    pub fn target(&self) -> Result<RedisTarget, RedisTargetError> {
        RedisTarget::parse(&self.url())
    }

    /// How many replicas must acknowledge a claim.
    pub fn min_replicas(&self) -> u32 {
        self.min_replicas.unwrap_or_else(|| self.target().map_or(0, |target| target.default_min_replicas()))
    }
}

/// TLS to Redis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisTls {
    /// A file with the CA certificates (PEM) that signed the server's certificate. Absent: the CAs of the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A file with the client certificate (PEM) that Redis asks for. The gateways present it, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// A file with its key (PEM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The name to verify and to send as SNI, for every node. Absent: the host that is dialled, which under Sentinel
    /// and Cluster is what the nodes announce.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Who makes the Redis user of a server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RedisUsers {
    /// The operator makes an ACL user for each server, which reaches that server's keys alone.
    #[default]
    Managed,
    /// The tenant provides it in a Secret `gatehouse-redis` (keys username, password, and ca.crt, tls.crt, tls.key if needed).
    Provided,
    /// All servers use the operator's own; `TenantIsolated` is then False.
    Shared,
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

/// OAuth client policies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicySettings {
    /// What holds for a server that no policy targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<PolicyTerms>,
    /// Whether a server that no policy targets is refused.
    pub required: bool,
    /// What no policy exceeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceilings: Option<PolicyCeilings>,
}

/// The terms of a policy, without targets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyTerms {
    /// How clients become known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// Where codes may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<RedirectUris>,
    /// Which scopes clients may be granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<PolicyScopes>,
    /// How long things live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetimes: Option<Lifetimes>,
}

/// What no policy exceeds. What is absent has no ceiling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyCeilings {
    /// The longest lifetimes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetimes: Option<LifetimeCeilings>,
    /// The longest life of a dynamic registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_lifetime: Option<GepDuration>,
    /// `Refused`: no policy allows it. Without `metadata_documents` this closes documents too: they are another way for
    /// clients to come that nobody named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_registration: Option<Mode>,
    /// The most that any policy admits of Client ID Metadata Documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_documents: Option<MetadataDocuments>,
}

/// The longest lifetimes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LifetimeCeilings {
    /// Of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<GepDuration>,
    /// Of a refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<GepDuration>,
    /// Of the refresh grace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_grace: Option<GepDuration>,
    /// Of a sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<GepDuration>,
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
                key_prefix: default_key_prefix(),
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

fn default_key_prefix() -> String {
    "gatehouse".to_owned()
}
