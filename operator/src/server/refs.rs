//! Which other objects a spec names.

use std::collections::BTreeSet;

use gatehouse_gateway_config::{KeyRef, RefKind};

use super::names;
use crate::{
    config::RedisUsers,
    crd::{McpServer, OAuthClientPolicy, primitive::CaRef},
    policy::attach,
};

/// One key that a spec names, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The path of the field.
    pub field: String,
    /// The object and key.
    pub key: KeyRef,
}

/// Every key of a Secret or ConfigMap that a spec names, in the order of its fields.
pub fn references(server: &McpServer) -> Vec<Reference> {
    let spec = &server.spec;
    let mut found = Vec::new();
    let mut add = |field: String, key: KeyRef| found.push(Reference { field, key });
    if let Some(oauth2) = &spec.identity.oauth2 {
        add("spec.identity.oauth2.clientSecretRef".to_owned(), oauth2.client_secret_ref.key_ref());
        if let Some(tls) = &oauth2.tls {
            add("spec.identity.oauth2.tls.caRef".to_owned(), tls.ca_ref.key_ref());
        }
    }
    if let Some(oidc) = &spec.identity.oidc {
        if let Some(secret) = &oidc.client_secret_ref {
            add("spec.identity.oidc.clientSecretRef".to_owned(), secret.key_ref());
        }
        if let Some(tls) = &oidc.tls {
            add("spec.identity.oidc.tls.caRef".to_owned(), tls.ca_ref.key_ref());
        }
    }
    if let Some(local) = &spec.identity.local {
        add("spec.identity.local.usersSecretRef".to_owned(), local.users_secret_ref.key_ref());
    }
    for (index, credential) in spec.credentials.iter().enumerate() {
        if let Some(value) = &credential.static_ {
            add(format!("spec.credentials[{index}].static.secretRef"), value.secret_ref.key_ref());
        }
    }
    for (index, backend) in spec.backends.iter().enumerate() {
        let Some(tls) = &backend.tls else { continue };
        if let Some(ca) = tls.ca_ref.as_ref().map(CaRef::key_ref) {
            add(format!("spec.backends[{index}].tls.caRef"), ca);
        }
        if let Some(certificate) = &tls.client_certificate_ref {
            for key in ["tls.crt", "tls.key"] {
                add(
                    format!("spec.backends[{index}].tls.clientCertificateRef"),
                    KeyRef::secret(&certificate.name, key),
                );
            }
        }
    }
    found
}

/// The Secrets that must be looked at, the tenant's Redis Secret included where there is one.
pub fn secrets(server: &McpServer, users: RedisUsers) -> BTreeSet<String> {
    let mut names = of_kind(server, RefKind::Secret);
    if users == RedisUsers::Provided {
        names.insert(names::PROVIDED_REDIS_SECRET.to_owned());
    }
    names
}

/// The Secrets of the clients that the policy in force for a server names.
pub fn client_secrets(server: &McpServer, policies: &[OAuthClientPolicy]) -> BTreeSet<String> {
    let winner = attach(server, policies).first().map(|(policy, _)| *policy);
    let clients = winner.into_iter().flat_map(|policy| &policy.spec.clients);
    clients.flat_map(|client| &client.secret_refs).map(|secret| secret.name.clone()).collect()
}

/// The ConfigMaps that must be looked at.
pub fn config_maps(server: &McpServer) -> BTreeSet<String> {
    of_kind(server, RefKind::ConfigMap)
}

/// The Services that must be looked at.
pub fn services(server: &McpServer) -> BTreeSet<String> {
    server.spec.backends.iter().filter_map(|b| b.service.as_ref().map(|s| s.name.clone())).collect()
}

fn of_kind(server: &McpServer, kind: RefKind) -> BTreeSet<String> {
    references(server).into_iter().filter(|r| r.key.kind == kind).map(|r| r.key.name).collect()
}

/// The issuer of a server: what it says, or the origin of its URL.
pub fn issuer(server: &McpServer) -> String {
    server.spec.issuer.clone().unwrap_or_else(|| origin(&server.spec.url))
}

/// The origin of a URL, or what stands there instead of one.
pub fn origin(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization())
}

/// The host of a server, without a port: cookies ignore ports, so tenants on two ports share a browser origin's cookies.
pub fn host(server: &McpServer) -> Option<String> {
    url::Url::parse(&server.spec.url).ok()?.host_str().map(str::to_owned)
}
