//! `redis` of the operator's configuration.

use std::path::PathBuf;

use gatehouse_gateway_config::redis::{RedisTarget, RedisTargetError};
use serde::{Deserialize, Serialize};

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

pub(super) fn default_key_prefix() -> String {
    "gatehouse".to_owned()
}
