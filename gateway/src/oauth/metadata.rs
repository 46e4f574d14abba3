//! `GET /.well-known/oauth-authorization-server` (RFC 8414) and `/.well-known/oauth-protected-resource` (RFC 9728).
//! Members that do not apply are absent, never null; endpoints that do not exist are not named.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use gatehouse_gateway_config::{PolicyConfig, RegistrationMode, policy::ClientGrant};
use openidconnect::core::CoreJwsSigningAlgorithm;
use serde::Serialize;

use crate::{
    app::App,
    jws::ALGORITHMS,
    model::{AuthMethod, client::PRIVATE_KEY_JWT, scope},
};

/// Authorization server metadata (RFC 8414 section 2, RFC 9207 section 3).
#[derive(Debug, Serialize)]
struct ServerMetadata<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    revocation_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    scopes_supported: Vec<&'a str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: Vec<&'static str>,
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_signing_alg_values_supported: Option<Algorithms>,
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint_auth_signing_alg_values_supported: Option<Algorithms>,
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id_metadata_document_supported: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_documentation: Option<&'a str>,
}

type Algorithms = [CoreJwsSigningAlgorithm; ALGORITHMS.len()];

/// Protected resource metadata (RFC 9728 section 2).
#[derive(Debug, Serialize)]
struct ResourceMetadata<'a> {
    resource: &'a str,
    authorization_servers: [&'a str; 1],
    scopes_supported: Vec<&'a str>,
    bearer_methods_supported: [&'static str; 1],
    resource_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<&'a str>,
}

/// The authorization server's document.
pub async fn get(State(app): State<Arc<App>>) -> Response {
    let (config, urls) = (&app.server.config, &app.server.urls);
    // None but clients with a document sign.
    let documents = app.server.takes_documents();
    let methods = AuthMethod::REGISTERED.map(AuthMethod::name).into_iter();
    let methods: Vec<_> = methods.chain(documents.then_some(PRIVATE_KEY_JWT)).collect();
    let dynamic = config.policy.registration.mode == RegistrationMode::Allowed;
    document(ServerMetadata {
        issuer: &urls.issuer,
        authorization_endpoint: urls.endpoint("/oauth/authorize"),
        token_endpoint: urls.endpoint("/oauth/token"),
        revocation_endpoint: urls.endpoint("/oauth/revoke"),
        registration_endpoint: dynamic.then(|| urls.endpoint("/oauth/register")),
        scopes_supported: app.server.scopes.supported().into_iter().chain([scope::OFFLINE_ACCESS]).collect(),
        response_types_supported: ["code"],
        response_modes_supported: ["query"],
        grant_types_supported: grant_types(&config.policy),
        token_endpoint_auth_methods_supported: methods.clone(),
        token_endpoint_auth_signing_alg_values_supported: documents.then_some(ALGORITHMS),
        revocation_endpoint_auth_methods_supported: methods,
        revocation_endpoint_auth_signing_alg_values_supported: documents.then_some(ALGORITHMS),
        code_challenge_methods_supported: ["S256"],
        authorization_response_iss_parameter_supported: true,
        client_id_metadata_document_supported: documents.then_some(true),
        service_documentation: config.display.support_url.as_deref(),
    })
}

fn grant_types(policy: &PolicyConfig) -> Vec<&'static str> {
    let robots = policy.clients.iter().any(|client| client.grants.contains(&ClientGrant::ClientCredentials));
    let robots = robots.then_some("client_credentials");
    ["authorization_code", "refresh_token"].into_iter().chain(robots).collect()
}

/// The protected resource's document.
pub async fn get_resource(State(app): State<Arc<App>>) -> Response {
    let (config, urls) = (&app.server.config, &app.server.urls);
    document(ResourceMetadata {
        resource: &urls.resource,
        authorization_servers: [&urls.issuer],
        // What to begin with: a call that needs more says so (RFC 9728 section 5.1 and MCP, step-up).
        scopes_supported: app.server.scopes.names(app.server.scopes.basic()),
        bearer_methods_supported: ["header"],
        resource_name: app.server.display_name(),
        resource_documentation: config.display.support_url.as_deref(),
    })
}

fn document(metadata: impl Serialize) -> Response {
    let mut response = Json(metadata).into_response();
    // Short: a policy may take the registration endpoint away.
    let cache = HeaderValue::from_static("public, max-age=60");
    response.headers_mut().insert(header::CACHE_CONTROL, cache);
    response
}
