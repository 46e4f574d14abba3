//! Attacks 69 to 89: codes, tokens, client authentication, refresh.

use axum::body::Body;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gatehouse_gateway::credentials::Check;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    Answer, Browser, Client, Gateway, VERIFIER, authorization, authorize_path, config, form, keyring, redeem,
    refresh, request, seconds, with,
};

#[tokio::test]
async fn a_code_becomes_tokens() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let code = gateway.code(&mut Browser::default(), &client).await;
    let answer = gateway.token(&redeem(&client, &code)).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    let json = answer.json();
    let mut members: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "expires_in", "refresh_token", "scope", "token_type"]);
    assert_eq!((&json["token_type"], &json["scope"]), (&json!("Bearer"), &json!("mcp")));
    assert_eq!(json["expires_in"], 3600);
    let access = json["access_token"].as_str().unwrap();
    gateway.clock.advance(seconds(3599));
    assert!(gateway.accepts(access).await);
    gateway.clock.advance(seconds(1));
    assert!(!gateway.accepts(access).await);
}

#[tokio::test]
async fn a_code_works_once_and_its_replay_ends_the_sign_in() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let code = gateway.code(&mut Browser::default(), &client).await;
    let tokens = gateway.token(&redeem(&client, &code)).await.json();
    gateway.clock.advance(seconds(3));
    assert!(gateway.token(&redeem(&client, &code)).await.is_error(400, "invalid_grant"));
    assert!(!gateway.accepts(tokens["access_token"].as_str().unwrap()).await);
    let token = tokens["refresh_token"].as_str().unwrap();
    assert!(gateway.token(&refresh(&client, token)).await.is_error(400, "invalid_grant"));
}

#[tokio::test]
async fn a_hundred_redemptions_at_once_give_one_pair() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let code = gateway.code(&mut Browser::default(), &client).await;
    let params = redeem(&client, &code);
    let answers = futures::future::join_all((0..100).map(|_| gateway.token(&params))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::OK).count(), 1);
    let tokens = answers.iter().find(|answer| answer.status == StatusCode::OK).unwrap().json();
    assert!(gateway.accepts(tokens["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn a_code_is_bound_to_client_address_verifier_and_resource() {
    let gateway = Gateway::local();
    let (client, other) = (gateway.public_client().await, gateway.public_client().await);
    let code = gateway.code(&mut Browser::default(), &client).await;
    let right = redeem(&client, &code);
    let (short, long) = ("a".repeat(42), "a".repeat(129));
    for (name, value, error) in [
        ("client_id", Some(other.id.as_str()), "invalid_grant"),
        ("redirect_uri", Some("http://127.0.0.1:61001/callback"), "invalid_grant"),
        ("redirect_uri", None, "invalid_grant"),
        ("code_verifier", None, "invalid_grant"),
        ("code_verifier", Some(crate::support::CHALLENGE), "invalid_grant"),
        ("code_verifier", Some(&short), "invalid_grant"),
        ("code_verifier", Some(&long), "invalid_grant"),
        ("code_verifier", Some("ä"), "invalid_grant"),
        ("resource", Some("https://other.test/mcp"), "invalid_target"),
        ("code", Some("x"), "invalid_grant"),
        ("code", None, "invalid_request"),
    ] {
        let answer = gateway.token(&with(right.clone(), name, value)).await;
        assert!(answer.is_error(400, error), "{name}={value:?} {answer:?}");
    }
    let right = with(right, "resource", Some("https://gw.test/mcp/"));
    assert_eq!(gateway.token(&right).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_redirect_uri_is_left_out_twice_or_never() {
    let gateway = Gateway::local();
    let client = gateway.register_redirect("http://127.0.0.1:61000/callback").await;
    let mut browser = Browser::default();
    let asked = with(authorization(&client), "redirect_uri", None);
    let page = browser.consent_to(&gateway, &asked, "alice").await;
    let code = browser.get(&gateway, &page.link("approve")).await.redirect_param("code").unwrap();
    let left_out = with(redeem(&client, &code), "redirect_uri", None);
    assert_eq!(gateway.token(&left_out).await.status, StatusCode::OK);
}

/// The answers to what begins with the id of a key, wherever a stranger may show it: a client id, a refresh token, a code
/// and an access token.
async fn shown_under(gateway: &Gateway, client: &Client, tokens: &Value, kid: u8) -> [Answer; 8] {
    let under = |text: &str| {
        let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        bytes[0] = kid;
        URL_SAFE_NO_PAD.encode(bytes)
    };
    let given = |name: &str| tokens[name].as_str().unwrap();
    let stranger = Client { id: format!("gc_{}", under(&client.id[3..])), secret: None };
    let (access, code) = (format!("gha_{}", under(&given("access_token")[4..])), under(given("code")));
    let other = under(given("refresh_token"));
    let bearer = format!("Bearer {access}");
    let call = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let revoke = async |client: &Client, token: &str| {
        let body = Body::from(form(&[("token", token), ("client_id", &client.id)]));
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        gateway.send(request(Method::POST, "/oauth/revoke", &headers, body)).await
    };
    [
        gateway.token(&redeem(&stranger, "x")).await,
        revoke(&stranger, "x").await,
        gateway.get(&authorize_path(&authorization(&stranger))).await,
        gateway.token(&refresh(client, &other)).await,
        gateway.token(&redeem(client, &code)).await,
        gateway.send(request(Method::POST, "/mcp", &call, Body::from("{}"))).await,
        revoke(client, &access).await,
        revoke(client, &other).await,
    ]
}

/// The ids of keys count up from 1. A replica that cannot read its file may lack the key of another; of one that can, no
/// input is answered with a server error.
#[tokio::test]
async fn a_key_that_cannot_be_read_is_an_outage_and_a_made_up_one_is_not() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let code = gateway.code(&mut Browser::default(), &client).await;
    let mut tokens = gateway.tokens(&client).await;
    tokens["code"] = code.into();
    let shows = async |kid: u8, unavailable: bool| {
        let answers = shown_under(&gateway, &client, &tokens, kid).await;
        let statuses = answers.each_ref().map(|answer| answer.status.as_u16());
        let refused = [401, 401, 400, 400, 400, 401, 200, 200];
        assert_eq!(statuses, if unavailable { [503; 8] } else { refused }, "{kid} {answers:?}");
        for answer in answers {
            assert_eq!(answer.header("retry-after").is_empty(), !unavailable, "{kid} {answer:?}");
        }
    };
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("keyring.json");
    for kid in [0, 2, 3, 255] {
        shows(kid, false).await;
    }
    gateway.server.keys.follow(file.clone());
    gateway.clock.advance(seconds(59));
    shows(2, false).await;
    gateway.clock.advance(seconds(1));
    for kid in [0, 2, 3, 255] {
        shows(kid, kid == 2).await;
    }
    std::fs::write(&file, keyring(1).to_json()).unwrap();
    // A stranger does not make the file be read more than once a second.
    shows(2, true).await;
    gateway.clock.advance(seconds(1));
    for kid in [0, 2, 3, 255] {
        shows(kid, false).await;
    }
    let token = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(gateway.token(&refresh(&client, token)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_code_ends_after_ten_minutes() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let code = gateway.code(&mut Browser::default(), &client).await;
    gateway.clock.advance(seconds(600));
    assert!(gateway.token(&redeem(&client, &code)).await.is_error(400, "invalid_grant"));
}

#[tokio::test]
async fn requests_that_are_not_a_form_are_refused() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let body = form(&redeem(&client, "x"));
    let typed = |content_type| [("content-type", content_type)];
    for content_type in
        ["application/json", "multipart/form-data", "application/json, application/x-www-form-urlencoded"]
    {
        let answer = gateway
            .send(request(Method::POST, "/oauth/token", &typed(content_type), Body::from(body.clone())))
            .await;
        assert!(answer.is_error(400, "invalid_request"), "{content_type}");
    }
    let answer = gateway.send(request(Method::POST, "/oauth/token", &[], Body::from(body.clone()))).await;
    assert!(answer.is_error(400, "invalid_request"));
    let urlencoded = typed("application/x-www-form-urlencoded");
    let in_query = format!("/oauth/token?{body}");
    let answer = gateway.send(request(Method::POST, &in_query, &urlencoded, Body::from(body.clone()))).await;
    assert!(answer.is_error(400, "invalid_request"));
    assert_eq!(gateway.get("/oauth/token").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let twice = format!("{body}&code=y");
    let answer = gateway.send(request(Method::POST, "/oauth/token", &urlencoded, Body::from(twice))).await;
    assert!(answer.is_error(400, "invalid_request"));
    let large = Body::from("x".repeat(100_000));
    let answer = gateway.send(request(Method::POST, "/oauth/token", &urlencoded, large)).await;
    assert!(answer.is_error(413, "invalid_request"));
}

#[tokio::test]
async fn other_grant_types_are_refused() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    for (grant_type, error) in [
        (Some("password"), "unsupported_grant_type"),
        (Some(""), "unsupported_grant_type"),
        (Some("urn:ietf:params:oauth:grant-type:jwt-bearer"), "unsupported_grant_type"),
        (Some("client_credentials"), "unauthorized_client"),
        (None, "invalid_request"),
    ] {
        let answer = gateway.token(&with(redeem(&client, "x"), "grant_type", grant_type)).await;
        assert!(answer.is_error(400, error), "{grant_type:?} {answer:?}");
    }
}

async fn confidential(gateway: &Gateway, method: &str) -> Client {
    gateway
        .register(
            json!({"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": method}),
        )
        .await
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

#[tokio::test]
async fn clients_authenticate_by_post_and_by_basic() {
    let gateway = Gateway::local();
    let client = confidential(&gateway, "client_secret_post").await;
    let secret = client.secret.clone().unwrap();
    let code = gateway.code(&mut Browser::default(), &client).await;
    let post = with(redeem(&client, &code), "client_secret", Some(&secret));
    assert_eq!(gateway.token(&post).await.status, StatusCode::OK);

    let client = confidential(&gateway, "client_secret_basic").await;
    let secret = client.secret.clone().unwrap();
    // Raw as the TypeScript SDK, form-encoded and with client_id in the body as the Python SDK.
    let encoded = (client.id.replace('_', "%5F").replace('-', "%2D"), secret.replace('-', "%2d"));
    for (header, in_body) in
        [(basic(&client.id, &secret), None), (basic(&encoded.0, &encoded.1), Some(client.id.as_str()))]
    {
        let code = gateway.code(&mut Browser::default(), &client).await;
        let params = with(redeem(&client, &code), "client_id", in_body);
        let answer =
            gateway.token_with(&[("authorization", &header.replace("Basic", "bAsIc"))], &params).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

/// As older TypeScript SDKs do, which go by what the metadata offers.
#[tokio::test]
async fn a_secret_proves_its_client_in_either_place() {
    let gateway = Gateway::local();
    for method in ["client_secret_post", "client_secret_basic"] {
        let client = confidential(&gateway, method).await;
        let secret = client.secret.clone().unwrap();
        let code = gateway.code(&mut Browser::default(), &client).await;
        let params = redeem(&client, &code);
        let answer = if method == "client_secret_basic" {
            gateway.token(&with(params, "client_secret", Some(&secret))).await
        } else {
            gateway.token_with(&[("authorization", &basic(&client.id, &secret))], &params).await
        };
        assert_eq!(answer.status, StatusCode::OK, "{method}: {answer:?}");
    }
}

#[tokio::test]
async fn wrong_client_authentication_is_refused_and_costs_no_code() {
    let gateway = Gateway::local();
    let (client, public) =
        (confidential(&gateway, "client_secret_basic").await, gateway.public_client().await);
    let secret = client.secret.clone().unwrap();
    let code = gateway.code(&mut Browser::default(), &client).await;
    let body = redeem(&client, &code);
    for (header, params) in [
        (None, body.clone()),
        (None, with(body.clone(), "client_secret", Some("wrong"))),
        (None, with(body.clone(), "client_id", None)),
        (None, with(redeem(&public, "x"), "client_secret", Some(&secret))),
        (Some(basic(&client.id, "wrong")), body.clone()),
        (Some(basic(&client.id, &secret)), with(body.clone(), "client_secret", Some(&secret))),
        (Some(basic(&client.id, &secret)), with(body.clone(), "client_id", Some(&public.id))),
        (Some("Basic !!!".to_owned()), body.clone()),
        (Some("Bearer x".to_owned()), body.clone()),
        (Some(basic("unknown", "x")), with(body.clone(), "client_id", None)),
    ] {
        let headers: Vec<_> = header.iter().map(|value| ("authorization", value.as_str())).collect();
        let answer = gateway.token_with(&headers, &params).await;
        assert!(answer.is_error(401, "invalid_client"), "{header:?} {params:?} {answer:?}");
        assert_eq!(answer.header("www-authenticate").starts_with("Basic "), header.is_some(), "{header:?}");
    }
    let right = [("authorization", basic(&client.id, &secret))];
    let right: Vec<_> = right.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(gateway.token_with(&right, &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_replaces_both_tokens_and_forgives_for_the_grace() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let first = gateway.tokens(&client).await;
    let old = first["refresh_token"].as_str().unwrap();
    let next = gateway.token(&refresh(&client, old)).await.json();
    assert_ne!(next["refresh_token"], first["refresh_token"]);
    // The answer was lost: the same successor.
    gateway.clock.advance(seconds(60));
    let again = gateway.token(&refresh(&client, old)).await.json();
    assert_eq!(
        (&again["access_token"], &again["refresh_token"]),
        (&next["access_token"], &next["refresh_token"])
    );
    assert_eq!(again["expires_in"], 3540);
    assert!(gateway.accepts(next["access_token"].as_str().unwrap()).await);
    // After the grace, reuse ends the family.
    gateway.clock.advance(seconds(61));
    assert!(!gateway.accepts(first["access_token"].as_str().unwrap()).await);
    assert!(gateway.token(&refresh(&client, old)).await.is_error(400, "invalid_grant"));
    assert!(!gateway.accepts(next["access_token"].as_str().unwrap()).await);
    let token = next["refresh_token"].as_str().unwrap();
    assert!(gateway.token(&refresh(&client, token)).await.is_error(400, "invalid_grant"));
}

#[tokio::test]
async fn using_the_successor_ends_the_grace() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let first = gateway.tokens(&client).await;
    let old = first["refresh_token"].as_str().unwrap();
    let second = gateway.token(&refresh(&client, old)).await.json();
    let third = gateway.token(&refresh(&client, second["refresh_token"].as_str().unwrap())).await.json();
    assert!(gateway.token(&refresh(&client, old)).await.is_error(400, "invalid_grant"));
    assert!(!gateway.accepts(third["access_token"].as_str().unwrap()).await);
}

#[tokio::test]
async fn with_no_grace_the_old_tokens_die_at_once() {
    let mut config = config();
    config["policy"] = json!({"lifetimes": {
        "authorizationCode": "10m", "accessToken": "1h", "refreshToken": "720h", "refreshGrace": "0s", "signIn": "8760h",
    }});
    let gateway = Gateway::new(config);
    let client = gateway.public_client().await;
    let first = gateway.tokens(&client).await;
    let old = first["refresh_token"].as_str().unwrap();
    assert_eq!(gateway.token(&refresh(&client, old)).await.status, StatusCode::OK);
    assert!(!gateway.accepts(first["access_token"].as_str().unwrap()).await);
    assert!(gateway.token(&refresh(&client, old)).await.is_error(400, "invalid_grant"));
}

#[tokio::test]
async fn fifty_refreshes_at_once_give_one_lineage() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let first = gateway.tokens(&client).await;
    let params = refresh(&client, first["refresh_token"].as_str().unwrap());
    let answers = futures::future::join_all((0..50).map(|_| gateway.token(&params))).await;
    let mut pairs: Vec<_> = answers.iter().map(|answer| answer.json()["refresh_token"].to_string()).collect();
    pairs.dedup();
    assert_eq!(pairs.len(), 1);
}

#[tokio::test]
async fn a_refresh_token_is_bound_to_its_client_and_server() {
    let gateway = Gateway::local();
    let (client, other) = (gateway.public_client().await, gateway.public_client().await);
    let tokens = gateway.tokens(&client).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    assert!(gateway.token(&refresh(&other, token)).await.is_error(400, "invalid_grant"));
    let elsewhere = Gateway::seeded(config(), 2);
    let there = elsewhere.public_client().await;
    assert!(elsewhere.token(&refresh(&there, token)).await.is_error(400, "invalid_grant"));
    for bad in ["x", &token[1..], VERIFIER] {
        assert!(gateway.token(&refresh(&client, bad)).await.is_error(400, "invalid_grant"), "{bad}");
    }
    let grown = with(refresh(&client, token), "scope", Some("mcp admin"));
    assert!(gateway.token(&grown).await.is_error(400, "invalid_scope"));
    let target = with(refresh(&client, token), "resource", Some("https://other.test/"));
    assert!(gateway.token(&target).await.is_error(400, "invalid_target"));
    let right = with(refresh(&client, token), "scope", Some("mcp offline_access"));
    assert_eq!(gateway.token(&right).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_due_check_decides_over_a_refresh() {
    let sentence = "Your GitHub session expired, please sign in again.".to_owned();
    for (check, status, error) in [
        (Check::Live, 200, None),
        (Check::Tolerated, 200, None),
        (Check::Dead(sentence), 400, Some("invalid_grant")),
        (Check::Unavailable, 503, Some("temporarily_unavailable")),
    ] {
        let gateway = Gateway::local();
        let client = gateway.public_client().await;
        let first = gateway.tokens(&client).await;
        gateway.clock.advance(seconds(6 * 3600 + 1));
        *gateway.checks.check.lock().unwrap() = Some(check.clone());
        let answer = gateway.token(&refresh(&client, first["refresh_token"].as_str().unwrap())).await;
        assert_eq!(answer.status.as_u16(), status, "{check:?} {answer:?}");
        if let Some(error) = error {
            assert_eq!(answer.error(), error);
        }
        if let Check::Dead(sentence) = &check {
            assert_eq!(&answer.json()["error_description"], sentence);
        }
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
    }
}

#[tokio::test]
async fn a_dead_identity_refuses_refreshes_until_the_user_signs_in() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let first = gateway.tokens(&client).await;
    let token = first["refresh_token"].as_str().unwrap();
    let user = gateway.server.store.users().await.unwrap()[0];
    let dead =
        gatehouse_gateway::model::IdentityState::Dead { reason: "token_revoked".to_owned(), told: false };
    gateway.server.store.set_identity_state(&user, &dead).await.unwrap();
    let answer = gateway.token(&refresh(&client, token)).await;
    assert!(answer.is_error(400, "invalid_grant"));
    assert_eq!(answer.json()["error_description"], "Your GitHub session expired, please sign in again.");
    // A sign-in with another client mends this one.
    let other = gateway.public_client().await;
    gateway.tokens(&other).await;
    assert_eq!(gateway.token(&refresh(&client, token)).await.status, StatusCode::OK);
}

/// Attack 21: a registration that is over begins nothing new, and what it began goes on.
#[tokio::test]
async fn a_used_client_lives_as_long_as_its_tokens() {
    let mut config = config();
    config["policy"] = json!({"registration": {"lifetime": "1h"}});
    let gateway = Gateway::new(config);
    let client = gateway.public_client().await;
    let tokens = gateway.tokens(&client).await;
    gateway.clock.advance(seconds(3599));
    let late = gateway.code(&mut Browser::default(), &client).await;
    gateway.clock.advance(seconds(1));
    let answer = gateway.token(&redeem(&client, &late)).await;
    assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
    assert!(gateway.get(&authorize_path(&authorization(&client))).await.is_page(400));
    gateway.clock.advance(seconds(60 * 3600));
    let token = tokens["refresh_token"].as_str().unwrap();
    let renewed = gateway.token(&refresh(&client, token)).await;
    assert_eq!(renewed.status, StatusCode::OK, "{renewed:?}");
}
