//! The contract between Gatehouse's operator and its gateway.
//!
//! The operator's `build` renders a [`GatewayConfig`] into an immutable `ConfigMap`; the gateway reads it at start.
//! Both sides use these very types, so renaming a field breaks both builds. Every field skips its default when it is
//! written: a new field therefore changes no hash, and rolls no pod, until somebody uses it.
//!
//! Nothing here is secret. Secrets are named by [`KeyRef`] and reach the gateway as mounted files; the sealing keys
//! are one JSON document, [`keys::Keyring`], in a Secret of their own.

pub mod backend;
pub mod denial;
pub mod duration;
pub mod identity;
pub mod keys;
pub mod listen;
pub mod mac;
pub mod policy;
pub mod preset;
pub mod redirect_uri;
pub mod redis;
pub mod refs;
pub mod scope;
pub mod server;
pub mod users;

use serde::{Deserialize, Serialize};

pub use backend::{
    BackendConfig, BackendTarget, HeaderConfig, InjectConfig, PodsConfig, TimeoutsConfig, TlsConfig,
};
pub use identity::{IdentityConfig, LocalConfig, OAuth2Config, OidcConfig, UserInfoConfig};
pub use policy::{LifetimesConfig, PolicyConfig, RegistrationMode};
pub use refs::{KeyRef, RefKind};
pub use scope::{ScopeConfig, ToolScopesConfig, ToolsConfig};
pub use server::{
    AccessConfig, AccessRule, Allow, CredentialConfig, CredentialKind, DisplayConfig, ServerConfig,
};

/// Where the operator mounts the rendered configuration in a gateway pod.
pub const CONFIG_PATH: &str = "/etc/gatehouse/config/gateway.json";
/// The key of the keys Secret, and of the file it is mounted as.
pub const KEYRING_KEY: &str = "keyring.json";
/// The directory where the keys Secret is mounted.
pub const KEYS_DIR: &str = "/etc/gatehouse/keys";
/// The directory under which every referenced Secret and `ConfigMap` is mounted, see [`KeyRef::path_under`].
pub const REFS_DIR: &str = "/etc/gatehouse/refs";
/// The port that serves OAuth and MCP.
pub const HTTP_PORT: u16 = 8080;
/// The port that serves `/livez`, `/readyz` and `/metrics`.
pub const ADMIN_PORT: u16 = 9090;

/// The gateway's configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayConfig {
    /// The Redis that all replicas share. Absent: the embedded in-memory store, which only `gatehouse dev` renders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisConfig>,
    /// Which destinations that are not globally routable may be connected to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub egress: EgressConfig,
    /// Networks (CIDR) of the proxies in front, whose `X-Forwarded-For` names the client address for rate limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// The servers that this gateway serves: one, for now.
    pub servers: Vec<ServerConfig>,
}

/// How to reach Redis or Valkey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisConfig {
    /// Where it is, without user and password: one of the forms of [`redis::RedisTarget::parse`].
    pub url: String,
    /// The prefix of every key of this installation.
    #[serde(default = "default_key_prefix", skip_serializing_if = "is_default_key_prefix")]
    pub key_prefix: String,
    /// The Secret keys of the ACL user of this server. Absent: the URL is used without authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<RedisAuthConfig>,
    /// The CA that signed the server's certificate. Absent: the web's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<KeyRef>,
    /// The name of a Secret of type `kubernetes.io/tls` with our client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// The name to verify and to send as SNI, for every node; absent: the host that is dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// How many replicas must acknowledge a claim (`WAIT`), see the protocols' "Records".
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_replicas: u32,
}

/// Where the Redis user and password are found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedisAuthConfig {
    /// The ACL user's name. Absent: the user `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<KeyRef>,
    /// The password.
    pub password: KeyRef,
}

/// The rule for outbound connections, checked at connect time, after resolution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EgressConfig {
    /// Networks (CIDR), addresses or host names (`*.suffix` allowed) that may be connected to although they are not
    /// globally routable. A network opens every address in it, also those of Services; their names take entries of
    /// their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// An HTTP proxy (`http://host:port`) to which we CONNECT with the checked address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// CAs (PEM) that count beside the web's own where a connection names none of its own (`tls.ca`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// Why a configuration file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The path that was given.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not a valid configuration; the message names line and column.
    #[error("the configuration is not valid: {0}")]
    Parse(#[from] serde_json::Error),
    /// No server is declared.
    #[error("servers: at least one server is required")]
    NoServers,
}

impl GatewayConfig {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// When the file cannot be read, is not a configuration, or names no server.
    pub fn load(path: &std::path::Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Parses and checks a configuration.
    ///
    /// # Errors
    /// When the text is not a configuration, or names no server.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_str(text)?;
        if config.servers.is_empty() { Err(ConfigError::NoServers) } else { Ok(config) }
    }
}

fn default_key_prefix() -> String {
    "gatehouse".to_owned()
}

fn is_default_key_prefix(prefix: &String) -> bool {
    prefix == "gatehouse"
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
