//! 9 and 10: nobody acts as somebody else, and nobody acts as nobody.

use e2e::{browser::Browser, net::http, oauth::OAuthClient};
use serde_json::json;

use crate::Local;

#[tokio::test]
async fn e09_both_at_once_over_replicas_each_with_their_own_token() {
    let local = Local::start("accessToken: 1h", 2).await;
    let client = OAuthClient::register(&local.gateway.issuer).await;
    let (alice_browser, bob_browser) = (Browser::of("alice"), Browser::of("bob"));
    let ((alice, _), (bob, _)) = tokio::join!(client.tokens(&alice_browser), client.tokens(&bob_browser));
    local.backend.clear();
    let calls = (0..40).map(|index| {
        let (name, token) = if index % 2 == 0 { ("alice", &alice) } else { ("bob", &bob) };
        let client = &client;
        async move {
            let answer = client.whoami(Some(token)).await;
            assert_eq!(answer.json()["result"]["content"][0]["text"], name, "{}", answer.text);
            let write = client.call(Some(token), "write", json!({ "project": "alice/notes" })).await;
            assert_eq!(write.json()["result"]["isError"], name == "bob", "{}", write.text);
        }
    });
    futures::future::join_all(calls).await;
    for call in local.backend.calls() {
        // Only the injected credential arrives, never the gateway's own token.
        assert!(["Bearer token-of-alice", "Bearer token-of-bob"].contains(&call.header("authorization")));
        assert!(!call.body.contains(&alice) && call.header("cookie").is_empty());
    }
}

#[tokio::test]
async fn e10_a_call_without_a_sign_in_reaches_no_backend() {
    let local = Local::start("accessToken: 1h", 1).await;
    let client = OAuthClient::register(&local.gateway.issuer).await;
    let (_, refresh) = client.tokens(&Browser::of("alice")).await;
    local.backend.clear();
    for token in [None, Some("nonsense"), Some("token-of-alice"), Some(refresh.as_str())] {
        assert_eq!(client.whoami(token).await.status, 401);
    }
    let with_session = client.mcp(None, &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
    let with_session = with_session.header("mcp-session-id", "guessed").send().await.unwrap();
    assert_eq!(with_session.status(), 401);
    let in_query =
        http().post(format!("{}?access_token=x", client.url)).json(&json!({})).send().await.unwrap();
    assert_eq!(in_query.status(), 401);
    assert!(local.backend.requests().is_empty(), "{:?}", local.backend.requests());
}
