//! RFC 7009: a client ends its own grant, by either token, and nobody else's.

use axum::body::Body;
use gatehouse_gateway::oauth::limits::TOKEN;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    redis_server::RedisServer,
    support::{Answer, Client, Gateway, config, form, refresh, request, with},
};

impl Gateway {
    pub(crate) async fn revoke(&self, params: &[(&str, &str)]) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        self.send(request(Method::POST, "/oauth/revoke", &headers, Body::from(form(params)))).await
    }
}

fn revocation<'a>(client: &'a Client, token: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("client_id", &client.id), ("token", token)]
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

fn is_done(answer: &Answer) -> bool {
    answer.status == StatusCode::OK && answer.body.is_empty() && answer.header("cache-control") == "no-store"
}

#[tokio::test]
async fn either_token_ends_the_grant() {
    for name in ["access_token", "refresh_token"] {
        let gateway = Gateway::local();
        let client = gateway.public_client().await;
        let (tokens, others) = (gateway.tokens(&client).await, gateway.tokens(&client).await);
        gateway.trail.take();
        // A hint, right or wrong, changes nothing.
        let params = with(revocation(&client, text(&tokens, name)), "token_type_hint", Some("access_token"));
        assert!(is_done(&gateway.revoke(&params).await), "{name}");
        assert_eq!(gateway.trail.decisions(), ["grant revoked by_client"]);
        assert!(!gateway.accepts(text(&tokens, "access_token")).await, "{name}");
        let refreshed = gateway.token(&refresh(&client, text(&tokens, "refresh_token"))).await;
        assert!(refreshed.is_error(400, "invalid_grant"), "{name}");
        assert!(gateway.accepts(text(&others, "access_token")).await, "another sign-in of the same client");
        assert!(is_done(&gateway.revoke(&params).await), "it is revoked already");
        assert!(!gateway.trail.decisions().iter().any(|decision| decision.starts_with("grant")), "{name}");
    }
}

#[tokio::test]
async fn a_replaced_refresh_token_ends_the_grant_too() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let first = gateway.tokens(&client).await;
    let old = text(&first, "refresh_token");
    let next = gateway.token(&refresh(&client, old)).await.json();
    assert!(is_done(&gateway.revoke(&revocation(&client, old)).await));
    assert!(!gateway.accepts(text(&next, "access_token")).await);
}

#[tokio::test]
async fn what_is_unknown_is_as_good_as_revoked() {
    let gateway = Gateway::local();
    let (client, elsewhere) = (gateway.public_client().await, Gateway::seeded(config(), 2));
    let foreign = elsewhere.tokens(&elsewhere.public_client().await).await;
    let long = "x".repeat(4000);
    for token in ["x", "gha_x", &long, text(&foreign, "access_token"), text(&foreign, "refresh_token")] {
        assert!(is_done(&gateway.revoke(&revocation(&client, token)).await), "{token}");
    }
    assert!(elsewhere.accepts(text(&foreign, "access_token")).await);
}

#[tokio::test]
async fn nobody_ends_what_is_another_clients() {
    let gateway = Gateway::local();
    let (client, other) = (gateway.public_client().await, gateway.public_client().await);
    let secret = gateway
        .register(json!({"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "client_secret_post"}))
        .await;
    let tokens = gateway.tokens(&client).await;
    for name in ["access_token", "refresh_token"] {
        let token = text(&tokens, name);
        let right = revocation(&client, token);
        assert!(gateway.revoke(&revocation(&other, token)).await.is_error(400, "invalid_grant"), "{name}");
        let unproven = gateway.revoke(&revocation(&secret, token)).await;
        assert!(unproven.is_error(401, "invalid_client"), "{name}");
        let unknown = gateway.revoke(&with(right.clone(), "client_id", Some("gc_x"))).await;
        assert!(unknown.is_error(401, "invalid_client"), "{name}");
        assert!(
            gateway.revoke(&with(right.clone(), "client_id", None)).await.is_error(401, "invalid_client")
        );
    }
    let missing = gateway.revoke(&with(revocation(&client, ""), "token", None)).await;
    assert!(missing.is_error(400, "invalid_request"));
    let in_query = form(&revocation(&client, text(&tokens, "access_token")));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let path = format!("/oauth/revoke?{in_query}");
    let answer = gateway.send(request(Method::POST, &path, &headers, Body::empty())).await;
    assert!(answer.is_error(400, "invalid_request"));
    assert_eq!(gateway.get("/oauth/revoke").await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(gateway.accepts(text(&tokens, "access_token")).await);
    let told = gateway.trail.decisions();
    let refused = told.iter().filter(|decision| decision.starts_with("revocation refused")).count();
    assert_eq!(refused, 10, "{told:?}");
    assert!(!told.iter().any(|decision| decision.starts_with("grant")), "{told:?}");
}

/// As after a failed `WAIT`: the grant has ended, nobody finds it again, and the client may not rely on it yet.
#[tokio::test]
async fn what_is_not_acknowledged_is_told_once_and_asked_for_again() {
    let Some(redis) = RedisServer::start().await else { return };
    let gateway = Gateway::on_redis(config(), &redis.url()).await;
    let strict = Gateway::unacknowledged(config(), &redis.url()).await;
    let client = gateway.public_client().await;
    for name in ["access_token", "refresh_token"] {
        let tokens = gateway.tokens(&client).await;
        gateway.trail.take();
        let params = revocation(&client, text(&tokens, name));
        for told in [Some("grant revoked by_client"), None] {
            let answer = strict.revoke(&params).await;
            assert!(answer.is_error(503, "temporarily_unavailable"), "{name}: {answer:?}");
            assert_eq!(answer.header("retry-after"), "2");
            let expected: Vec<_> =
                told.into_iter().chain(["revocation refused temporarily_unavailable"]).collect();
            assert_eq!(strict.trail.decisions(), expected, "{name}");
        }
        assert!(!gateway.accepts(text(&tokens, "access_token")).await, "{name}");
        assert!(is_done(&gateway.revoke(&params).await), "{name}: replicas are back");
        assert_eq!(gateway.trail.decisions(), Vec::<String>::new(), "{name}");
    }
}

/// What a request did is told also where nobody waits for its answer.
#[tokio::test]
async fn who_hangs_up_leaves_no_end_of_a_grant_untold() {
    let Some(redis) = RedisServer::start().await else { return };
    let gateway = Gateway::on_redis(config(), &redis.url()).await;
    // It waits for a replica.
    let strict = Gateway::unacknowledged(config(), &redis.url()).await;
    let client = gateway.public_client().await;
    let tokens = gateway.tokens(&client).await;
    let access = text(&tokens, "access_token");
    let params = revocation(&client, access);
    tokio::select! {
        _ = strict.revoke(&params) => panic!("it was answered before it was hung up"),
        () = async { while gateway.accepts(access).await {} } => {}
    }
    strict.server.finished().await;
    assert_eq!(
        strict.trail.decisions(),
        ["grant revoked by_client", "revocation refused temporarily_unavailable"]
    );
}

#[tokio::test]
async fn a_request_that_is_not_looked_at_is_told_too() {
    let gateway = Gateway::local();
    let unknown = Client { id: "gc_x".to_owned(), secret: None };
    for _ in 0..TOKEN.count {
        assert_eq!(gateway.revoke(&revocation(&unknown, "x")).await.status, StatusCode::UNAUTHORIZED);
    }
    gateway.trail.take();
    let held_back = gateway.revoke(&revocation(&unknown, "x")).await;
    assert!(held_back.is_error(429, "temporarily_unavailable"), "{held_back:?}");
    assert_eq!(gateway.trail.decisions(), ["revocation refused temporarily_unavailable"]);
}
