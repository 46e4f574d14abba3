//! Attacks 25 to 41: the authorization request.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, CALLBACK, Gateway, authorization, authorize_path, provider_config, request, with,
};

#[tokio::test]
async fn an_unproven_client_or_address_gets_a_page_and_no_redirect() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let right = authorization(&client);
    for (name, value) in [
        ("client_id", Some("gc_AAAA")),
        ("client_id", None),
        ("redirect_uri", Some("https://evil.test/cb")),
        ("redirect_uri", Some("http://127.0.0.1:61000/other")),
        ("redirect_uri", Some("http://localhost:61000/callback")),
        ("redirect_uri", Some("https://127.0.0.1:61000/callback")),
        ("redirect_uri", Some("http://127.0.0.1:61000/callback#x")),
    ] {
        let answer = gateway.get(&authorize_path(&with(right.clone(), name, value))).await;
        assert!(answer.is_page(400), "{name}={value:?} {answer:?}");
        assert!(!answer.body.contains("evil.test"));
    }
    for name in ["client_id", "redirect_uri"] {
        let mut twice = right.clone();
        twice.push(*right.iter().find(|(key, _)| *key == name).unwrap());
        assert!(gateway.get(&authorize_path(&twice)).await.is_page(400), "{name}");
    }
}

#[tokio::test]
async fn the_redirect_uri_may_be_left_out_when_there_is_one() {
    let gateway = Gateway::with_provider();
    let one = gateway.public_client().await;
    let answer = gateway.get(&authorize_path(&with(authorization(&one), "redirect_uri", None))).await;
    assert_eq!(answer.status, StatusCode::OK);
    let two = json!({"redirect_uris": ["http://127.0.0.1/a", "http://127.0.0.1/b"], "token_endpoint_auth_method": "none"});
    let two = gateway.register(two).await;
    assert!(
        gateway.get(&authorize_path(&with(authorization(&two), "redirect_uri", None))).await.is_page(400)
    );
}

#[tokio::test]
async fn other_errors_go_to_the_client_with_state_and_issuer() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let right = authorization(&client);
    let (short, long) = ("a".repeat(42), "a".repeat(129));
    let padded = format!("{}=", "a".repeat(42));
    let many = "x ".repeat(500);
    let cases: &[(&str, Option<&str>, &str)] = &[
        ("response_type", Some("token"), "unsupported_response_type"),
        ("response_type", Some("code token"), "unsupported_response_type"),
        ("response_type", None, "invalid_request"),
        ("response_mode", Some("fragment"), "invalid_request"),
        ("response_mode", Some("form_post"), "invalid_request"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some(&short), "invalid_request"),
        ("code_challenge", Some(&long), "invalid_request"),
        ("code_challenge", Some(&padded), "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("code_challenge_method", Some("s256"), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("scope", Some("admin"), "invalid_scope"),
        ("scope", Some("*"), "invalid_scope"),
        ("scope", Some("mcp \""), "invalid_scope"),
        ("scope", Some(&many), "invalid_scope"),
        ("resource", Some("https://other.test/mcp"), "invalid_target"),
        ("resource", Some("https://gw.test/mcp#x"), "invalid_target"),
        ("resource", Some("mcp"), "invalid_target"),
        ("request", Some("x"), "request_not_supported"),
        ("request_uri", Some("https://sink.test/"), "request_not_supported"),
    ];
    for (name, value, code) in cases {
        let answer = gateway.get(&authorize_path(&with(right.clone(), name, *value))).await;
        assert!(answer.location().starts_with(CALLBACK), "{name}={value:?}");
        assert_eq!(answer.redirect_param("error").as_deref(), Some(*code), "{name}={value:?}");
        assert_eq!(answer.redirect_param("state").as_deref(), Some("xyz"));
        assert_eq!(answer.redirect_param("iss").as_deref(), Some("https://gw.test"));
        assert_eq!(answer.redirect_param("code"), None);
        assert!(answer.headers.get("set-cookie").is_none(), "{name}={value:?}");
    }
    let mut twice = right.clone();
    twice.push(("resource", "https://gw.test/mcp"));
    let answer = gateway.get(&authorize_path(&twice)).await;
    assert_eq!(answer.redirect_param("error").as_deref(), Some("invalid_target"));
    let mut twice = right;
    twice.push(("scope", "mcp"));
    twice.push(("scope", "mcp"));
    let answer = gateway.get(&authorize_path(&twice)).await;
    assert_eq!(answer.redirect_param("error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn what_clients_really_send_is_accepted() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let right = authorization(&client);
    for (name, value) in [
        ("resource", None),
        ("resource", Some("https://gw.test/mcp/")),
        ("resource", Some("HTTPS://GW.TEST/mcp")),
        ("scope", None),
        ("scope", Some("")),
        ("scope", Some("mcp offline_access")),
        ("scope", Some("mcp unknown")),
        ("state", None),
        ("state", Some("")),
        ("prompt", Some("consent")),
        ("prompt", Some("none")),
        ("login_hint", Some("<b>x</b>")),
        ("redirect_uri", Some("http://127.0.0.1:5/callback")),
    ] {
        let answer = gateway.get(&authorize_path(&with(right.clone(), name, value))).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}={value:?} {answer:?}");
        assert!(answer.body.contains("id=\"approve\"") && !answer.body.contains("<b>x"));
    }
}

#[tokio::test]
async fn state_comes_back_byte_for_byte() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let long = "s".repeat(4096);
    let (quotes, controls) = ("\"".repeat(2048), "\u{1}".repeat(682));
    for state in ["", "x", "ä€🔑", "a b+c%20&=#", "\r\nSet-Cookie: x=y", "\u{0}", &long, &quotes, &controls]
    {
        let mut browser = Browser::default();
        let page =
            browser.get(&gateway, &authorize_path(&with(authorization(&client), "state", Some(state)))).await;
        let answer = browser.get(&gateway, &page.link("deny")).await;
        assert_eq!(answer.redirect_param("state").as_deref(), Some(state));
        assert!(answer.headers.get("x").is_none() && !answer.location().contains(['\r', '\n', ' ']));
    }
    // What counts is what Redis would hold.
    for longer in ["s".repeat(8192), "ä".repeat(2049), "\u{1}".repeat(3850), "\"".repeat(2049)] {
        let path = authorize_path(&with(authorization(&client), "state", Some(&longer)));
        assert!(gateway.get(&path).await.is_page(414));
    }
    let invalid = format!("{}&x=%ff", authorize_path(&authorization(&client)));
    assert!(gateway.get(&invalid).await.is_page(400));
    let huge = format!("/oauth/authorize?{}", "a".repeat(60_000));
    assert!(gateway.get(&huge).await.is_page(414));
}

#[tokio::test]
async fn only_get_has_an_effect() {
    let gateway = Gateway::with_provider();
    for path in ["/oauth/authorize", "/oauth/authorize/approve", "/oauth/callback"] {
        for method in [Method::HEAD, Method::PUT, Method::POST, Method::TRACE, Method::DELETE] {
            let answer = gateway.send(request(method.clone(), path, &[], Body::empty())).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_flood_of_requests_from_one_source_is_limited() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let path = authorize_path(&authorization(&client));
    for _ in 0..300 {
        assert_eq!(gateway.get(&path).await.status, StatusCode::OK);
    }
    let answer = gateway.get(&path).await;
    assert!(answer.is_page(429) && answer.header("retry-after") == "60", "{answer:?}");
}

#[tokio::test]
async fn a_policy_that_changed_decides_over_old_registrations() {
    let client = Gateway::with_provider().public_client().await;
    let policy = json!({"redirectUris": {"loopback": "Refused"}});
    let strict = Gateway::edited(provider_config(), "policy", policy);
    assert!(strict.get(&authorize_path(&authorization(&client))).await.is_page(400));
}
