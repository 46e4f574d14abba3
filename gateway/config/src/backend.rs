//! A tool backend and what its calls carry.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{KeyRef, ToolsConfig};

/// One MCP server behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackendConfig {
    /// Its name, for logs, metrics and messages.
    pub name: String,
    /// Where it is.
    pub target: BackendTarget,
    /// The credentials that each call carries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inject: Vec<InjectConfig>,
    /// Fixed headers of each call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderConfig>,
    /// Which of its tools are offered, and what calling them takes.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub tools: ToolsConfig,
    /// TLS to the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Time limits.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub timeouts: TimeoutsConfig,
}

/// Where a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackendTarget {
    /// A Service of the server's own namespace; its addresses are exempt from the egress check, and nothing else that its
    /// name may lead to one day: a Service can be turned into an alias of any name.
    #[serde(rename_all = "camelCase")]
    Service {
        /// `http://name.namespace.svc:port/path`, or https with `tls`.
        url: String,
        /// The headless twin, by which sessions are pinned to pods. Absent: the Service's own address is used.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pods: Option<PodsConfig>,
        /// The addresses that the Service has. Empty: they are not known, or it has none of its own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        addresses: Vec<IpAddr>,
        /// Whether the Service is headless itself and has no address: its twin's name is asked instead of its own.
        #[serde(default, skip_serializing_if = "crate::is_default")]
        headless: bool,
    },
    /// Any URL; every address that is not globally routable is refused unless `egress.allow` lists it.
    Url(String),
}

/// The headless twin of a Service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PodsConfig {
    /// Its DNS name, for example `github-gateway-pods.team-a.svc`.
    pub host: String,
    /// The port's name there: pods are found by the SRV records `_<port>._tcp.<host>`.
    pub port: String,
}

/// One credential in one header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InjectConfig {
    /// The credential's name.
    pub credential: String,
    /// The header's name.
    pub header: String,
    /// The header's value, with `{token}` once.
    pub format: String,
}

/// One fixed header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderConfig {
    /// The header's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// TLS to a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// The CA; absent: the web's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<KeyRef>,
    /// The name of a Secret of type `kubernetes.io/tls` with our client certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// The name to verify and to send as SNI; absent: the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// Time limits of a backend. Streams have no total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// To connect, TLS included.
    #[serde(with = "crate::duration::serde")]
    pub connect: Duration,
    /// From the request's end to the answer's headers.
    #[serde(with = "crate::duration::serde")]
    pub first_byte: Duration,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), first_byte: Duration::from_secs(60) }
    }
}
