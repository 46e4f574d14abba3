//! Attacks 10 to 24: dynamic client registration.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    Browser, Gateway, NOW, authorization, authorize_path, config, redeem, refresh, request,
};

fn no_null_and_no_empty_text(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().all(no_null_and_no_empty_text),
        Value::Object(members) => members.values().all(no_null_and_no_empty_text),
        _ => true,
    }
}

#[tokio::test]
async fn a_public_client_is_registered_with_what_took_effect() {
    let answer = Gateway::local()
        .post_json("/oauth/register", json!({
            "client_name": "Claude Code (github)", "redirect_uris": ["http://localhost:53211/callback"],
            "token_endpoint_auth_method": "none", "application_type": "native", "software_id": "x",
            "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
            "response_types": ["code"], "scope": "admin", "client_id": "mine", "client_secret": "mine",
            "client_uri": "https://claude.ai", "logo_uri": "", "jwks_uri": "http://169.254.169.254/",
        }))
        .await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::CREATED, "no-store"));
    let mut json = answer.json();
    assert!(no_null_and_no_empty_text(&json), "{json}");
    let id = json["client_id"].take();
    assert!(id.as_str().unwrap().starts_with("gc_") && id.as_str().unwrap().len() <= 512);
    let expected = json!({
        "client_id": null, "client_id_issued_at": NOW, "client_name": "Claude Code (github)",
        "redirect_uris": ["http://localhost:53211/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn leaving_the_method_out_gives_a_secret_for_basic() {
    let answer = Gateway::local()
        .post_json("/oauth/register", json!({"redirect_uris": ["http://127.0.0.1/cb"]}))
        .await;
    let json = answer.json();
    assert_eq!(json["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(json["client_secret_expires_at"], NOW + 365 * 86_400);
    assert!(json["client_secret"].as_str().unwrap().len() >= 43 && no_null_and_no_empty_text(&json));
    assert!(json.get("client_name").is_none());
}

#[tokio::test]
async fn bodies_that_are_not_a_registration_are_refused() {
    let gateway = Gateway::local();
    let deep = format!("{{\"redirect_uris\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in [
        "",
        "null",
        "[]",
        "1",
        "\"x\"",
        "{}",
        "{\"redirect_uris\":null}",
        "{\"redirect_uris\":\"http://localhost\"}",
        "{\"redirect_uris\":[1]}",
        "{\"redirect_uris\":[]}",
        &deep,
        "\u{feff}{\"redirect_uris\":[\"http://localhost/\"]}",
        "{\"redirect_uris\":[\"http://localhost/\"],\"redirect_uris\":[\"http://localhost/\"]}",
        "{",
        "{}{}",
        "{\"redirect_uris\":[\"http://localhost/\"],\"client_name\":7}",
        "{\"redirect_uris\":[\"http://localhost/\"],\"token_endpoint_auth_method\":\"private_key_jwt\"}",
        "{\"redirect_uris\":[\"http://localhost/\"],\"grant_types\":[\"client_credentials\",\"implicit\"]}",
        "{\"redirect_uris\":[\"http://localhost/\"],\"response_types\":[\"token\"]}",
    ] {
        let answer = gateway.post_json("/oauth/register", body).await;
        let error = answer.error();
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(
            matches!(error.as_str(), "invalid_client_metadata" | "invalid_redirect_uri"),
            "{body} {error}"
        );
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        let headers = [("content-type", content_type)];
        let body = Body::from("{\"redirect_uris\":[\"http://localhost/\"]}");
        let answer = gateway.send(request(Method::POST, "/oauth/register", &headers, body)).await;
        assert!(answer.is_error(400, "invalid_client_metadata"), "{content_type}");
    }
    let large = json!({"redirect_uris": ["http://localhost/"], "client_name": "x".repeat(1 << 20)});
    assert!(gateway.post_json("/oauth/register", large).await.is_error(413, "invalid_request"));
}

#[tokio::test]
async fn dangerous_and_malformed_redirect_uris_are_refused() {
    let gateway = Gateway::local();
    let long = format!("http://localhost/{}", "a".repeat(512));
    for uri in [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java%0ascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://x/y",
        " http://localhost/",
        "\u{0}http://localhost/",
        "http://c1.test/cb",
        "https://unknown.test/cb",
        "http://localhost/#x",
        "http://u@localhost/",
        "http://*/",
        "/cb",
        "http://",
        "http:\\\\localhost\\",
        "http://localhost/\u{7}",
        &long,
    ] {
        let answer = gateway.post_json("/oauth/register", json!({"redirect_uris": [uri]})).await;
        assert!(answer.is_error(400, "invalid_redirect_uri"), "{uri:?} {answer:?}");
        assert!(!answer.body.contains("alert"), "{uri:?}");
    }
    let many = vec!["http://localhost/"; 11];
    let answer = gateway.post_json("/oauth/register", json!({"redirect_uris": many})).await;
    assert!(answer.is_error(400, "invalid_redirect_uri"));
    for member in ["client_uri", "logo_uri", "tos_uri", "policy_uri"] {
        for uri in [
            "javascript:alert(1)",
            "data:,x",
            "http://169.254.169.254/",
            "http://10.0.0.1/",
            "http://127.0.0.1/",
            "http://100.64.0.1/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://localhost:8080/",
            "http://a.localhost./",
            "http://tools.team-b.svc/",
            "https://tools.team-b.svc.cluster.local./logo.png",
        ] {
            let body = json!({"redirect_uris": ["http://localhost/"], member: uri});
            let answer = gateway.post_json("/oauth/register", body).await;
            assert!(answer.is_error(400, "invalid_client_metadata"), "{member} {uri}");
        }
    }
}

#[tokio::test]
async fn of_several_redirect_uris_the_allowed_ones_are_kept() {
    let mut config = config();
    config["policy"] = json!({"redirectUris": {"loopback": "Refused"}});
    let gateway = Gateway::new(config);
    let cursor = json!({"client_name": "Cursor", "redirect_uris": [
        "cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback",
        "http://localhost:8787/callback",
    ]});
    let json = gateway.post_json("/oauth/register", cursor).await.json();
    let kept =
        ["cursor://anysphere.cursor-mcp/oauth/callback", "https://www.cursor.com/agents/mcp/oauth/callback"];
    assert_eq!(json["redirect_uris"], json!(kept));
    let set = json!({"redirect_uris": ["https://www.cursor.com/agents/mcp/oauth/callback", "javascript:x"]});
    assert!(gateway.post_json("/oauth/register", set).await.is_error(400, "invalid_redirect_uri"));
}

#[tokio::test]
async fn names_are_kept_harmless() {
    let gateway = Gateway::local();
    let client = gateway
        .register(json!({
            "client_name": "<img src=x onerror=alert(1)>\u{202e}\"'\r\n evil", "redirect_uris": ["http://127.0.0.1/callback"],
            "token_endpoint_auth_method": "none",
        }))
        .await;
    let page = Browser::default().consent(&gateway, &client, "alice").await;
    assert!(!page.body.contains("<img") && !page.body.contains('\u{202e}'), "{}", page.body);
    assert!(page.body.contains("&#60;img src=x onerror=alert(1)&#62;"), "{}", page.body);
}

#[tokio::test]
async fn a_policy_can_refuse_registration() {
    let mut config = config();
    config["policy"] = json!({"registration": {"mode": "Refused", "lifetime": "8760h"}});
    let gateway = Gateway::new(config);
    let answer = gateway.post_json("/oauth/register", json!({"redirect_uris": ["http://localhost/"]})).await;
    assert!(answer.is_error(403, "access_denied"), "{answer:?}");
    let metadata = gateway.get("/.well-known/oauth-authorization-server").await.json();
    assert!(metadata.get("registration_endpoint").is_none());
}

#[tokio::test]
async fn what_was_registered_before_is_revoked_and_the_rest_is_not() {
    let gateway = Gateway::local();
    let old = gateway.public_client().await;
    let tokens = gateway.tokens(&old).await;
    gateway.clock.advance(std::time::Duration::from_secs(60));
    let young = gateway.public_client().await;
    let mut config = config();
    config["policy"] = json!({"registration": {"lifetime": "8760h", "notBefore": NOW + 60}});
    let strict = gateway.reconfigured(config);
    let page = strict.get(&authorize_path(&authorization(&old))).await;
    assert!(page.is_page(400) && page.body.contains("remove this server and add it again"), "{page:?}");
    for params in [redeem(&old, "x"), refresh(&old, tokens["refresh_token"].as_str().unwrap())] {
        assert!(strict.token(&params).await.is_error(401, "invalid_client"));
    }
    assert_eq!(strict.tokens(&young).await["token_type"], "Bearer");
    assert_eq!(strict.tokens(&strict.public_client().await).await["token_type"], "Bearer");
}

#[tokio::test]
async fn a_flood_from_one_source_is_limited_whatever_it_says_of_itself() {
    let gateway = Gateway::local();
    let mut last = StatusCode::OK;
    for n in 0..301 {
        let forwarded = format!("203.0.113.{n}");
        let headers = [("content-type", "application/json"), ("x-forwarded-for", forwarded.as_str())];
        let body = Body::from("{\"redirect_uris\":[\"http://localhost/\"]}");
        let answer = gateway.send(request(Method::POST, "/oauth/register", &headers, body)).await;
        last = answer.status;
        if last == StatusCode::TOO_MANY_REQUESTS {
            assert!(answer.is_error(429, "temporarily_unavailable"));
            assert!(answer.header("retry-after").parse::<u64>().unwrap() <= 60);
        }
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_client_of_one_server_is_unknown_at_another() {
    let (a, b) = (Gateway::seeded(config(), 1), Gateway::seeded(config(), 2));
    let client = a.public_client().await;
    let page = b.get(&authorize_path(&authorization(&client))).await;
    assert!(page.is_page(400) && page.body.contains("remove this server and add it again"), "{page:?}");
    let answer = b.token(&redeem(&client, "x")).await;
    assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
}

#[tokio::test]
async fn a_registration_ends_after_its_life() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    gateway.clock.advance(std::time::Duration::from_secs(365 * 86_400));
    assert!(gateway.get(&authorize_path(&authorization(&client))).await.is_page(400));
    assert!(gateway.token(&redeem(&client, "x")).await.is_error(401, "invalid_client"));
}
