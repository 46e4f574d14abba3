//! Who may call: tokens, audience, identity, access, revocation.

use gatehouse_gateway::{
    clock::SystemEntropy, metrics::CacheLabels, model::AccessToken, oauth::limits::BEARER,
};
use gatehouse_gateway_config::{AccessRule, denial::Denial};
use http::Method;
use serde_json::json;

use super::{
    kit::{Kit, read, tool_call, until},
    redis_server::RedisServer,
};

#[tokio::test]
async fn without_a_token_every_method_is_401_with_the_challenge_first() {
    let kit = Kit::start().await;
    for method in [Method::POST, Method::GET, Method::DELETE, Method::PUT] {
        for headers in [&[][..], &[("authorization", "Basic YTpi")], &[("origin", "https://evil.example")]] {
            let answer = read(kit.open(method.clone(), &kit.url, headers, "{").await).await;
            assert_eq!(answer.status, 401, "{method} {headers:?}");
            let metadata = kit.gateway.server.urls.resource_metadata();
            let expected = format!("Bearer resource_metadata=\"{metadata}\", scope=\"mcp\"");
            assert_eq!(answer.header("www-authenticate"), expected);
            assert!(answer.message().contains("sign in"));
        }
    }
    assert!(kit.backend.seen().is_empty());
}

#[tokio::test]
async fn a_token_counts_only_in_the_authorization_header() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let url = format!("{}?access_token={token}", kit.url);
    let json = [("content-type", "application/json")];
    assert_eq!(kit.open(Method::POST, &url, &json, tool_call().to_string()).await.status(), 401);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(kit.open(Method::POST, &kit.url, &form, format!("access_token={token}")).await.status(), 401);
    assert!(kit.backend.seen().is_empty());

    let bearer = format!("Bearer {token}");
    let both = [("authorization", bearer.as_str()), json[0]];
    assert_eq!(kit.open(Method::POST, &url, &both, tool_call().to_string()).await.status(), 200);
    assert_eq!(kit.backend.only().path, "/backend/mcp", "the query stays here");
}

#[tokio::test]
async fn a_token_of_elsewhere_is_no_token_here() {
    let kit = Kit::start().await;
    let other_resource = kit.sign_in_as("1", |g| g.resource = "https://other.example/mcp".into()).await;
    let other_identity = kit.sign_in_as("1", |g| g.identity = "oidc:https://idp.example".into()).await;
    for token in [&other_resource, &other_identity, "gha_unknown"] {
        let answer = kit.call(token).await;
        assert_eq!(answer.status, 401);
        assert!(answer.header("www-authenticate").starts_with("Bearer resource_metadata="));
        assert!(answer.header("www-authenticate").contains("error=\"invalid_token\""));
    }
    assert!(kit.backend.seen().is_empty());
}

#[tokio::test]
async fn what_was_made_up_is_refused_without_a_look_up() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let looked_up = || kit.gateway.metrics.token_cache.get_or_create(&CacheLabels { result: "miss" }).get();
    let other = if token.ends_with('A') { "B" } else { "A" };
    for made_up in [&format!("{}{other}", &token[..token.len() - 1]), "gha_unknown", "x", &token[4..]] {
        assert_eq!(kit.call(made_up).await.status, 401, "{made_up}");
    }
    assert_eq!(looked_up(), 0);
    // One of ours that is not there any more.
    let gone = AccessToken::mint(&kit.gateway.server.keys, &SystemEntropy);
    for suffix in ["", "", ".bWNw", ".x"] {
        assert_eq!(kit.call(&format!("{}{suffix}", gone.expose())).await.status, 401);
    }
    assert_eq!(looked_up(), 1);
    assert_eq!(kit.call(&token).await.status, 200);
}

#[tokio::test]
async fn a_source_of_bad_tokens_beyond_reason_is_told_to_wait_and_a_good_one_is_not() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    for _ in 0..BEARER.count {
        assert_eq!(kit.call("gha_unknown").await.status, 401);
    }
    let refused = kit.call("gha_unknown").await;
    assert_eq!((refused.error(), refused.header("retry-after")), ((429, -32053), "60"));
    assert_eq!(kit.call(&token).await.status, 200);
    assert_eq!(kit.trail.with("event", "bearer").len() as u64, BEARER.count);
    kit.clock.advance(BEARER.window);
    assert_eq!(kit.call("gha_unknown").await.status, 401);
}

/// Nor is an outage held against who comes after it.
#[tokio::test]
async fn a_call_that_could_not_be_checked_is_told_until_one_source_brought_too_many() {
    let Some(redis) = RedisServer::start().await else { return };
    let kit = Kit::with_parts(|_| {}, json!({ "redis": { "url": redis.url() } })).await;
    let token = kit.sign_in("1").await;
    drop(redis);
    let told = || kit.trail.with("event", "bearer");
    assert_eq!(kit.call(&token).await.error(), (503, -32053));
    let events = told();
    assert_eq!(events.len(), 1, "{events:?}");
    for (field, value) in [("outcome", "refused"), ("reason", "store"), ("source", "127.0.0.1")] {
        assert_eq!(events[0][field], value);
    }
    for _ in 0..BEARER.count {
        assert_eq!(kit.call(&token).await.error(), (503, -32053));
    }
    assert_eq!(told().len() as u64, BEARER.count);
    assert_eq!(kit.call("gha_unknown").await.status, 401);
    assert_eq!(told().len() as u64, BEARER.count + 1);
    kit.clock.advance(BEARER.window);
    assert_eq!(kit.call(&token).await.error(), (503, -32053));
    assert_eq!(told().len() as u64, BEARER.count + 2);
}

#[tokio::test]
async fn who_is_not_allowed_reads_so() {
    let kit = Kit::with(|server| server["access"]["deny"] = json!([{"subjects": ["2"]}])).await;
    let (alice, bob) = (kit.sign_in("1").await, kit.sign_in("2").await);
    assert_eq!(kit.call(&alice).await.status, 200);
    let answer = kit.call(&bob).await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.message(), "user-2 may not use tools; its administrators can grant access");
    assert_eq!(answer.json()["id"], 7);
    assert_eq!(answer.header("www-authenticate"), "");
    assert_eq!(kit.backend.seen().len(), 1);
}

#[tokio::test]
async fn a_cached_caller_needs_no_look_up_and_is_forgotten_when_revoked() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let hits = || kit.gateway.metrics.token_cache.get_or_create(&CacheLabels { result: "hit" }).get();
    until(async || {
        assert_eq!(kit.call(&token).await.status, 200);
        hits() > 3
    })
    .await;
    let store = &kit.gateway.server.store;
    let access = AccessToken::hash_presented(&token);
    let grant = store.call(&access).await.unwrap().unwrap().grant;
    store.revoke_for_client(&grant.id, &grant.client_id, None).await.unwrap();
    until(async || kit.call(&token).await.status == 401).await;
}

#[tokio::test]
async fn who_was_denied_since_the_configuration_was_written_is_refused() {
    let kit = Kit::start().await;
    let (alice, bob) = (kit.sign_in("1").await, kit.sign_in("2").await);
    assert_eq!(kit.call(&alice).await.status, 200);
    let rule = AccessRule { subjects: vec!["1".to_owned()], ..AccessRule::default() };
    kit.gateway.server.denied.learn(Denial { generation: 2, rules: vec![rule] });
    // Although the token is cached.
    assert_eq!(kit.call(&alice).await.status, 403);
    assert_eq!(kit.call(&bob).await.status, 200);
}
