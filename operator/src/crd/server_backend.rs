//! `McpServer.spec.credentials` and `spec.backends`: what a call carries upstream, and where to.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::primitive::{CaRef, Empty, GepDuration, SecretKeyRef, SecretRef, URL_PATTERN};
use super::server_scope::Tools;

/// Something that a call can carry upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.fromIdentity) != has(self.static)", "a credential needs exactly one of fromIdentity and static"))]
pub struct Credential {
    /// The name by which inject refers to it.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The token of the user's own sign-in: Alice's calls carry Alice's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_identity: Option<Empty>,
    /// One value shared by all users; the consent page says so.
    #[serde(default, rename = "static", skip_serializing_if = "Option::is_none")]
    pub static_: Option<StaticCredential>,
}

/// One value shared by all users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaticCredential {
    /// Where the value is.
    pub secret_ref: SecretKeyRef,
}

/// An MCP server behind the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("has(self.service) != has(self.url)", "a backend needs exactly one of service and url"),
    validation = ("!has(self.inject) || !has(self.headers) || !self.inject.exists(i, self.headers.exists(h, h.name.lowerAscii() == i.header.lowerAscii()))", "a header cannot be set by both inject and headers"),
    validation = ("!has(self.url) || !has(self.tls) || self.url.startsWith('https://')", "tls needs an https url")
)]
pub struct Backend {
    /// Its name, for logs and metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// A Service of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRef>,
    /// A URL outside the cluster. A Service is named by service, never by a URL that ends in .svc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = URL_PATTERN))]
    pub url: Option<String>,
    /// The credentials that each call carries, each in a header of its own. Absent: none is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = kube::core::ListMerge::Map(vec!["header".into()]),
        validation = ("self.all(a, self.exists_one(b, a.header.lowerAscii() == b.header.lowerAscii()))", "inject must name each header once; header names have no case")
    )]
    pub inject: Vec<Inject>,
    /// Fixed headers of each call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(
        merge_strategy = kube::core::ListMerge::Map(vec!["name".into()]),
        validation = ("self.all(a, self.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))", "headers must name each header once; header names have no case")
    )]
    pub headers: Vec<Header>,
    /// Which of its tools are offered, and which scopes calling them takes. Absent: all, and none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Tools>,
    /// TLS to the backend. With service, its presence makes the connection https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
    /// Time limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
}

/// A Service of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRef {
    /// The name of the Service.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The number of one of its ports.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The path of its MCP endpoint. Absent: /mcp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = r"^/[A-Za-z0-9._~!$&'()*+,;=:@/-]*$"))]
    pub path: Option<String>,
}

/// One credential in one header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Inject {
    /// The name of one of spec.credentials.
    #[schemars(length(min = 1, max = 63))]
    pub credential: String,
    /// The header.
    #[serde(default = "Inject::default_header")]
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[-!#$%&'*+.^_`|~0-9A-Za-z]+$"))]
    #[x_kube(validation = ("!(self.lowerAscii() in ['accept', 'connection', 'content-length', 'content-type', 'expect', 'host', 'keep-alive', 'mcp-protocol-version', 'mcp-session-id', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade'])", "header is one that HTTP or MCP itself uses"))]
    pub header: String,
    /// The header's value, with {token} where the credential goes.
    #[serde(default = "Inject::default_format")]
    #[schemars(length(min = 7, max = 256), regex(pattern = r"^[ -z|~]*\{token\}[ -z|~]*$"))]
    pub format: String,
}

impl Inject {
    fn default_header() -> String {
        "Authorization".to_owned()
    }

    fn default_format() -> String {
        "Bearer {token}".to_owned()
    }
}

/// One fixed header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The header.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[-!#$%&'*+.^_`|~0-9A-Za-z]+$"))]
    #[x_kube(validation = ("!(self.lowerAscii() in ['accept', 'authorization', 'connection', 'content-length', 'content-type', 'cookie', 'expect', 'host', 'keep-alive', 'mcp-protocol-version', 'mcp-session-id', 'proxy-authenticate', 'proxy-authorization', 'te', 'trailer', 'transfer-encoding', 'upgrade'])", "name is a header that HTTP or MCP itself uses, or one for a secret: put a secret into a static credential and inject it"))]
    pub name: String,
    /// Its value. Not for secrets: everyone who may read the McpServer reads it.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^[!-~]([ -~]*[!-~])?$"))]
    pub value: String,
}

/// TLS to a backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendTls {
    /// The CA that signed the backend's certificate. Absent: the CAs of the web.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// A Secret of type kubernetes.io/tls with the gateway's client certificate (tls.crt, tls.key).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_ref: Option<SecretRef>,
    /// The name to verify and to send as SNI. Absent: the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub server_name: Option<String>,
}

/// Time limits of a backend. Streams have no total.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("duration(self.connect) > duration('0s') && duration(self.firstByte) > duration('0s')", "timeouts must be longer than 0s"))]
pub struct Timeouts {
    /// To connect, TLS included.
    #[serde(default = "Timeouts::default_connect")]
    pub connect: GepDuration,
    /// From the end of the request to the headers of the answer.
    #[serde(default = "Timeouts::default_first_byte")]
    pub first_byte: GepDuration,
}

impl Timeouts {
    const fn default_connect() -> GepDuration {
        GepDuration::from_secs(5)
    }

    const fn default_first_byte() -> GepDuration {
        GepDuration::from_secs(60)
    }
}
