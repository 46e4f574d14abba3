//! From a spec and what was fetched to a server whose existence proves that it is valid, or to all that is wrong.
//!
//! Much of this the API server has checked already, by the schema and its CEL rules. It is checked again where a
//! server made under an older schema could break it, because `build` cannot fail.

pub(in crate::server) mod access;
mod backend;
mod clients;
mod gateway;
mod host;
mod identity;
mod labels;
mod policy;
pub mod quantity;
mod redis;
mod refs;
mod resources;
mod scope;
mod url;

pub use host::matches as host_matches;
pub(crate) use resources::requirements;
use std::collections::BTreeSet;

use gatehouse_gateway_config::{
    AccessConfig, BackendConfig, DisplayConfig, GatewayConfig, IdentityConfig, PolicyConfig, RedisConfig,
    RefKind, ScopeConfig, ServerConfig,
};
use k8s_openapi::{api::core::v1::ServiceSpec, apimachinery::pkg::apis::meta::v1::OwnerReference};
use kube::{Resource, ResourceExt};

pub use self::gateway::PodSettings;
use super::fetch::Fetched;
use crate::{
    config::{OperatorConfig, RedisUsers},
    crd::{
        McpServer,
        condition::{Problem, Reason},
    },
    policy::Attachment,
};

/// A valid server: everything that `build` needs, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedServer {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The McpServer as the owner of its children; absent offline, where there is no UID.
    pub owner: Option<OwnerReference>,
    /// The gateway's configuration file.
    pub config: GatewayConfig,
    /// The pods.
    pub pods: PodSettings,
    /// Every Secret and ConfigMap to mount, besides the keys.
    pub mounts: BTreeSet<(RefKind, String)>,
    /// The headless twin of the Service backend.
    pub twin: Option<Twin>,
    /// Who makes the Redis user.
    pub redis_users: RedisUsers,
    /// The policy in force.
    pub policy: Attachment,
    /// A hash of what the operator itself decides about the pods.
    pub defaults_hash: String,
    /// Which edit of the server this is; absent offline, where there are no generations.
    pub generation: Option<i64>,
    /// What is not wrong but worth saying.
    pub warnings: Vec<Problem>,
}

impl ValidatedServer {
    /// The configuration of this one server.
    pub fn server(&self) -> &ServerConfig {
        // `validate` makes exactly one.
        &self.config.servers[0]
    }

    /// The redirect URI to register at the identity provider; absent with local users, who need none.
    pub fn callback_url(&self) -> Option<String> {
        let local = matches!(self.server().identity, IdentityConfig::Local(_));
        (!local).then(|| format!("{}/oauth/callback", self.server().issuer))
    }
}

/// A headless copy of a Service, by which sessions are pinned to pods.
#[derive(Debug, Clone, PartialEq)]
pub struct Twin {
    /// Its name.
    pub name: String,
    /// The selector and port of the Service.
    pub spec: ServiceSpec,
}

/// What the checks look at, and where they put what they find.
struct Checks<'a> {
    server: &'a McpServer,
    namespace: String,
    name: String,
    fetched: &'a Fetched,
    config: &'a OperatorConfig,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Checks<'_> {
    /// Notes that a field cannot work.
    fn invalid(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.accepted(Reason::Invalid, field, message);
    }

    /// Notes why the spec is not accepted.
    fn accepted(&mut self, reason: Reason, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::accepted(reason, field, message));
    }

    /// Notes why a reference is not resolved.
    fn unresolved(&mut self, reason: Reason, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem::refs(reason, field, message));
    }

    /// Notes something that works but hardly as it was meant.
    fn warn(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem::accepted(Reason::Accepted, field, message));
    }
}

/// The parts of a valid server, each absent while something is wrong with it.
struct Parts {
    issuer: Option<String>,
    identity: Option<IdentityConfig>,
    access: Option<AccessConfig>,
    scopes: Vec<ScopeConfig>,
    backend: Option<(BackendConfig, Option<Twin>)>,
    pods: Option<PodSettings>,
    policy: Option<(PolicyConfig, Attachment)>,
    redis: Option<RedisConfig>,
}

/// Checks a server.
///
/// # Errors
/// Everything that is wrong, at once: what is not accepted first, then what is not resolved.
pub fn validate(
    server: &McpServer,
    fetched: &Fetched,
    config: &OperatorConfig,
) -> Result<ValidatedServer, Vec<Problem>> {
    let mut checks = Checks {
        server,
        namespace: server.namespace().unwrap_or_else(|| "default".to_owned()),
        name: server.name_any(),
        fetched,
        config,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let identity = identity::check(&mut checks);
    let parts = Parts {
        issuer: url::check(&mut checks),
        access: access::check(&mut checks, identity.as_ref()),
        scopes: scope::check(&mut checks, identity.as_ref()),
        identity,
        backend: backend::check(&mut checks),
        pods: gateway::check(&mut checks),
        policy: policy::check(&mut checks),
        redis: redis::check(&mut checks),
    };
    refs::check(&mut checks);
    // Stable, so that the order of the fields is kept.
    checks.problems.sort_by_key(|p| p.condition);
    match assemble(&checks, parts) {
        Some(valid) if checks.problems.is_empty() => Ok(valid),
        _ => Err(checks.problems),
    }
}

/// Puts the parts together; absent while one is missing, which then stands in the problems.
fn assemble(checks: &Checks<'_>, parts: Parts) -> Option<ValidatedServer> {
    let Parts { issuer, identity, access, scopes, backend, pods, policy, redis } = parts;
    let (backend, twin) = backend?;
    let (policy, attachment) = policy?;
    let (redis, pods) = (redis?, pods?);
    let spec = &checks.server.spec;
    let display = spec.display.clone().unwrap_or_default();
    let config = ServerConfig {
        namespace: checks.namespace.clone(),
        name: checks.name.clone(),
        url: spec.url.clone(),
        issuer: issuer?,
        display: DisplayConfig {
            name: display.name,
            logo_url: display.logo_url,
            support_url: display.support_url,
        },
        identity: identity?,
        access: access?,
        scopes,
        credentials: backend::credentials(checks.server),
        backends: vec![backend],
        policy,
        drain_period: pods.drain_period,
    };
    let mut mounts: BTreeSet<(RefKind, String)> =
        super::refs::references(checks.server).into_iter().map(|r| (r.key.kind, r.key.name)).collect();
    let secrets = config.policy.clients.iter().flat_map(|client| &client.secrets);
    mounts.extend(secrets.map(|key| (key.kind, key.name.clone())));
    mounts.extend(redis::secret(&redis).map(|name| (RefKind::Secret, name)));
    Some(ValidatedServer {
        namespace: checks.namespace.clone(),
        name: checks.name.clone(),
        owner: checks.server.controller_owner_ref(&()),
        config: GatewayConfig {
            redis: Some(redis),
            egress: checks.config.egress.clone(),
            trusted_proxies: checks.config.gateway.trusted_proxies.clone(),
            servers: vec![config],
        },
        pods,
        mounts,
        twin,
        redis_users: checks.config.redis.users,
        policy: attachment,
        defaults_hash: checks.config.defaults_hash(),
        generation: checks.server.metadata.generation,
        warnings: checks.warnings.clone(),
    })
}
