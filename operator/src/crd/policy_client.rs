//! Clients that a policy knows in advance.

use gatehouse_gateway_config::policy;
use kube::{KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::primitive::SecretKeyRef;

/// A client that is known in advance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = ("self.grants.exists(g, g == 'authorization_code') == (has(self.redirectUris) && size(self.redirectUris) > 0)", "redirectUris belong to the grant authorization_code: neither works without the other"),
    validation = ("!self.grants.exists(g, g == 'client_credentials') || (has(self.secretRefs) && size(self.secretRefs) > 0)", "the grant client_credentials needs secretRefs: without a secret whoever knows the clientId would be the robot")
)]
pub struct StaticClient {
    /// The client's id.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9._~-]*$"))]
    pub client_id: String,
    /// The name that users read. Absent: the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// The client's secrets, each of which proves it: two while one replaces the other. None: a public client. A
    /// Secret that does not exist refuses this client and nothing else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub secret_refs: Vec<SecretKeyRef>,
    /// Where the client's codes may go, exactly; on loopback any port. They need no permission in redirectUris.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        inner(
            length(min = 1, max = 512),
            regex(pattern = r"^([a-z][a-z0-9+.-]*://|[a-z][a-z0-9+-]*[.][a-z0-9+.-]*:/)[!-)+-~]+$")
        )
    )]
    #[x_kube(
        validation = dangerous_rule("clients[].redirectUris"),
        validation = fragment_rule("clients[].redirectUris"),
        validation = reserved_rule("clients[].redirectUris")
    )]
    pub redirect_uris: Vec<String>,
    /// How the client gets tokens.
    #[serde(default = "StaticClient::default_grants")]
    #[schemars(length(min = 1, max = 2))]
    pub grants: Vec<ClientGrant>,
    /// The scopes that the client may be granted, of those of each server: one that a server does not have refuses the
    /// client there. Absent: all that clients may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        inner(length(min = 1, max = 64), regex(pattern = r"^[!#-\[\]-~]+$"))
    )]
    pub scopes: Option<Vec<String>>,
}

/// No address of a client is one that a browser runs or opens itself, or http beyond loopback.
pub(super) fn dangerous_rule(field: &str) -> Rule {
    let message = format!(
        "{field} takes https, http on loopback, and schemes of applications; never javascript, data, vbscript, file, blob \
         or about"
    );
    let schemes = "^(javascript|data|vbscript|file|blob|about|http):";
    let loopback = "^http://(localhost|127[.]0[.]0[.]1|\\\\[::1\\\\])(:[0-9]*)?([/?]|$)";
    Rule::new(format!("!self.exists(u, u.matches('{schemes}') && !u.matches('{loopback}'))"))
        .message(message.as_str())
}

/// RFC 6749 section 3.1.2.
pub(super) fn fragment_rule(field: &str) -> Rule {
    let message = format!("{field} must not have a fragment (#)");
    Rule::new("!self.exists(u, u.contains('#'))").message(message.as_str())
}

/// What the answer adds to the query must not stand there already.
pub(super) fn reserved_rule(field: &str) -> Rule {
    let message = format!("{field} must not have code, state, iss or error in a query: the answer has them");
    Rule::new("!self.exists(u, u.matches('[?&](code|state|iss|error)(=|&|$)'))").message(message.as_str())
}

impl StaticClient {
    fn default_grants() -> Vec<ClientGrant> {
        vec![ClientGrant::AuthorizationCode]
    }

    /// The client as the gateway's configuration holds it.
    pub fn config(&self) -> policy::StaticClientConfig {
        policy::StaticClientConfig {
            client_id: self.client_id.clone(),
            name: self.name.clone(),
            secrets: self.secret_refs.iter().map(SecretKeyRef::key_ref).collect(),
            redirect_uris: self.redirect_uris.clone(),
            grants: self.grants.iter().map(|grant| (*grant).into()).collect(),
            scopes: self.scopes.clone(),
        }
    }
}

/// A grant type that a client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientGrant {
    /// A user signs in and approves; refresh tokens go with it.
    AuthorizationCode,
    /// The client acts for itself: a robot, whose subject in access is its clientId. It has no credential of its own
    /// upstream, so it is refused where a backend gets fromIdentity.
    ClientCredentials,
}

impl From<ClientGrant> for policy::ClientGrant {
    fn from(grant: ClientGrant) -> Self {
        match grant {
            ClientGrant::AuthorizationCode => Self::AuthorizationCode,
            ClientGrant::ClientCredentials => Self::ClientCredentials,
        }
    }
}
