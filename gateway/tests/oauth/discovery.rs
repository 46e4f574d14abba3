//! Attacks 1 to 8: metadata, CORS, foreign hosts.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{Gateway, config, request};

#[tokio::test]
async fn the_authorization_server_document_names_what_is_there() {
    let answer = Gateway::local().get("/.well-known/oauth-authorization-server").await;
    assert_eq!(answer.status, StatusCode::OK);
    let methods = ["none", "client_secret_post", "client_secret_basic", "private_key_jwt"];
    let algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];
    assert_eq!(
        answer.json(),
        json!({
            "issuer": "https://gw.test",
            "authorization_endpoint": "https://gw.test/oauth/authorize",
            "token_endpoint": "https://gw.test/oauth/token",
            "revocation_endpoint": "https://gw.test/oauth/revoke",
            "revocation_endpoint_auth_methods_supported": methods,
            "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
            "registration_endpoint": "https://gw.test/oauth/register",
            "scopes_supported": ["mcp", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_methods_supported": methods,
            "token_endpoint_auth_signing_alg_values_supported": algorithms,
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
        })
    );
}

#[tokio::test]
async fn the_resource_document_is_at_the_inserted_path_and_the_root() {
    let gateway = Gateway::local();
    let paths = ["/mcp", "/mcp/", ""].map(|path| format!("/.well-known/oauth-protected-resource{path}"));
    for path in paths {
        let answer = gateway.get(&path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let expected = json!({
            "resource": "https://gw.test/mcp",
            "authorization_servers": ["https://gw.test"],
            "scopes_supported": ["mcp"],
            "bearer_methods_supported": ["header"],
            "resource_name": "GitHub tools",
        });
        assert_eq!(answer.json(), expected, "{path}");
    }
}

#[tokio::test]
async fn an_issuer_with_a_path_is_served_path_inserted_and_nowhere_else() {
    let mut config = config();
    config["url"] = json!("https://gw.test/t/x/mcp");
    config["issuer"] = json!("https://gw.test/t/x");
    let gateway = Gateway::new(config);
    let server = gateway.get("/.well-known/oauth-authorization-server/t/x").await;
    assert_eq!(server.json()["token_endpoint"], "https://gw.test/t/x/oauth/token");
    let resource = gateway.get("/.well-known/oauth-protected-resource/t/x/mcp").await;
    assert_eq!(resource.json()["authorization_servers"], json!(["https://gw.test/t/x"]));
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-authorization-server/t/y",
        "/oauth/token",
    ] {
        assert!(gateway.get(path).await.is_error(404, "invalid_request"), "{path}");
    }
    assert_eq!(gateway.get("/t/x/oauth/authorize").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_is_not_served_is_404_as_json() {
    let gateway = Gateway::local();
    for path in [
        "/.well-known/openid-configuration",
        "/.well-known/openid-configuration/mcp",
        "/mcp/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/mcp",
        "/.well-known/oauth-protected-resource/%2e%2e/mcp",
        "/.well-known/oauth-protected-resource//mcp",
        "/.well-known/oauth-protected-resource/mcp;x",
        "/.well-known/oauth-protected-resource/mcp%00",
        "/account/x",
    ] {
        let answer = gateway.get(path).await;
        assert!(answer.is_error(404, "invalid_request"), "{path} {answer:?}");
        assert!(!answer.body.contains("%2e") && !answer.body.contains(";x"), "{path}");
    }
}

#[tokio::test]
async fn request_headers_choose_no_url() {
    let headers = [
        ("host", "evil.test"),
        ("x-forwarded-host", "evil.test"),
        ("forwarded", "host=evil.test;proto=http"),
        ("x-forwarded-proto", "http"),
    ];
    let path = "/.well-known/oauth-authorization-server";
    let answer = Gateway::local().send(request(Method::GET, path, &headers, Body::empty())).await;
    assert!(!answer.body.contains("evil") && !answer.body.contains("http:"), "{answer:?}");
}

#[tokio::test]
async fn a_loopback_server_refuses_a_foreign_host() {
    let mut config = config();
    config["url"] = json!("http://localhost:8080/mcp");
    config["issuer"] = json!("http://localhost:8080");
    let gateway = Gateway::new(config);
    let path = "/.well-known/oauth-authorization-server";
    for (host, status) in
        [("localhost:9", 200), ("127.0.0.1:8080", 200), ("[::1]:1", 200), ("evil.test", 421)]
    {
        let answer = gateway.send(request(Method::GET, path, &[("host", host)], Body::empty())).await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn programs_in_browsers_read_documents_and_tokens_but_no_pages() {
    let gateway = Gateway::local();
    let origin = [("origin", "https://x.test"), ("access-control-request-method", "POST")];
    for path in
        ["/.well-known/oauth-authorization-server", "/oauth/register", "/oauth/token", "/oauth/revoke"]
    {
        let preflight = gateway.send(request(Method::OPTIONS, path, &origin, Body::empty())).await;
        assert_eq!(preflight.status, StatusCode::NO_CONTENT, "{path}");
        assert_eq!(preflight.header("access-control-allow-origin"), "*", "{path}");
        assert!(preflight.header("access-control-allow-headers").contains("MCP-Protocol-Version"));
        assert!(preflight.headers.get("access-control-allow-credentials").is_none(), "{path}");
    }
    for path in ["/oauth/authorize", "/oauth/authorize/approve", "/oauth/signin", "/oauth/callback"] {
        for method in [Method::OPTIONS, Method::GET] {
            let answer = gateway.send(request(method, path, &origin, Body::empty())).await;
            assert!(answer.headers.get("access-control-allow-origin").is_none(), "{path}");
        }
    }
}

#[tokio::test]
async fn a_call_without_a_token_learns_where_to_sign_in() {
    let gateway = Gateway::local();
    for method in [Method::POST, Method::GET, Method::DELETE] {
        let answer = gateway.send(request(method, "/mcp", &[], Body::empty())).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        let challenge = answer.header("www-authenticate");
        let metadata = "resource_metadata=\"https://gw.test/.well-known/oauth-protected-resource/mcp\"";
        assert!(challenge.starts_with("Bearer ") && challenge.contains(metadata), "{challenge}");
        assert!(!challenge.contains("error="), "{challenge}");
    }
}

#[tokio::test]
async fn a_path_that_looks_like_a_pattern_is_served_as_it_is() {
    for path in ["/:x", "/*x", "/a/:x/mcp", "/a:b*c"] {
        let mut config = config();
        config["url"] = json!(format!("https://gw.test{path}"));
        let gateway = Gateway::new(config);
        let document = gateway.get(&format!("/.well-known/oauth-protected-resource{path}")).await;
        assert_eq!(document.json()["resource"], format!("https://gw.test{path}"));
        assert_eq!(gateway.get(path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        let other = path.replace('x', "y").replace('b', "c");
        assert_eq!(gateway.get(&other).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn a_preflight_of_the_endpoint_says_what_the_call_will() {
    let mut loopback = config();
    loopback["url"] = json!("http://localhost:8080/mcp");
    loopback["issuer"] = json!("http://localhost:8080");
    let inspector = "http://localhost:6274";
    for (config, host, origin, known) in [
        (config(), "gw.test", "https://gw.test", true),
        (config(), "gw.test", "https://x.test", false),
        (config(), "gw.test", inspector, false),
        (loopback.clone(), "localhost:8080", inspector, true),
        (loopback.clone(), "localhost:8080", "http://localhost.x.test", false),
        (loopback, "localhost:8080", "null", false),
    ] {
        let gateway = Gateway::new(config);
        let headers = [("host", host), ("origin", origin), ("access-control-request-method", "POST")];
        let asked = gateway.send(request(Method::OPTIONS, "/mcp", &headers, Body::empty())).await;
        assert_eq!(asked.status.as_u16(), if known { 204 } else { 403 }, "{origin}");
        let called = gateway.send(request(Method::POST, "/mcp", &headers[..2], Body::empty())).await;
        for answer in [asked, called] {
            assert_eq!(answer.header("vary"), "Origin");
            let readable = answer.headers.contains_key("access-control-allow-origin");
            assert_eq!(readable, known, "{origin} {answer:?}");
        }
    }
}
