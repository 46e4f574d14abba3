//! A user whose identity at the provider died: told once in a tool's result, then asked to sign in, without a loop.

use futures::future::select;
use gatehouse_gateway::metrics::CacheLabels;
use serde_json::{Value, json};

use super::kit::{Answer, Kit, until};

const SENTENCE: &str = "Your GitHub session expired, please sign in again.";

/// A result in which a backend hides that its API refused the user's token.
const HIDDEN: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"isError":true,"content":[{"type":"text","text":"GET /user: 401 Bad credentials"}]}}"#;

/// How often a caller was asked for, in memory or in the store.
fn looked_up(kit: &Kit) -> u64 {
    let of = |result| kit.gateway.metrics.token_cache.get_or_create(&CacheLabels { result }).get();
    of("hit") + of("miss")
}

fn is_told(answer: &Answer) -> bool {
    let result = &answer.json()["result"];
    answer.status == 200
        && result["isError"] == json!(true)
        && result["content"][0]["text"] == json!(SENTENCE)
}

fn asks_to_sign_in(answer: &Answer) -> bool {
    let challenge = answer.header("www-authenticate");
    answer.status == 401
        && challenge.starts_with("Bearer resource_metadata=")
        && challenge.contains(&format!("error_description=\"{SENTENCE}\""))
        && answer.message() == SENTENCE
}

#[tokio::test]
async fn a_backends_401_of_a_dead_token_tells_once_and_then_starts_the_sign_in() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.provider.kill();
    kit.backend.answer(401, "application/json", "{}");
    assert!(is_told(&kit.call(&token).await));
    for _ in 0..3 {
        let answer = kit.call(&token).await;
        assert!(asks_to_sign_in(&answer), "{answer:?}");
        assert_eq!(answer.json()["id"], 7);
    }
    assert_eq!(kit.backend.seen().len(), 1, "a dead user reaches no backend");

    // Signing in mends it.
    kit.provider.dead.store(false, std::sync::atomic::Ordering::SeqCst);
    kit.backend.answer(200, "application/json", r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
    let fresh = kit.sign_in("1").await;
    assert_eq!(kit.call(&fresh).await.status, 200);
    assert_eq!(kit.call(&token).await.status, 200, "and every client of the user");
}

#[tokio::test]
async fn whoever_does_not_call_a_tool_is_asked_to_sign_in_at_once() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.provider.kill();
    kit.backend.answer(401, "application/json", "{}");
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert!(asks_to_sign_in(&kit.post(&token, &list).await));
    assert!(asks_to_sign_in(&kit.post(&token, &list).await));
    assert!(asks_to_sign_in(&kit.send(http::Method::GET, &token, &[]).await));
    assert!(is_told(&kit.call(&token).await), "the first tool call is still told");
    assert!(asks_to_sign_in(&kit.call(&token).await));
}

#[tokio::test]
async fn a_401_for_another_reason_is_a_tool_error_and_no_sign_in() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.backend.answer(401, "application/json", "{}");
    for _ in 0..3 {
        let answer = kit.call(&token).await;
        let result: &Value = &answer.json()["result"];
        assert_eq!((answer.status.as_u16(), &result["isError"]), (200, &json!(true)));
        assert!(result["content"][0]["text"].as_str().unwrap().contains("refused the credential"));
        assert_eq!(answer.header("www-authenticate"), "");
    }
    assert_eq!(kit.provider.asked(), 1, "at most once a minute");
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(kit.post(&token, &list).await.status, 502);
    let probe = json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover"});
    assert_eq!(kit.post(&token, &probe).await.status, 404, "the probe never fails with 5xx");
}

#[tokio::test]
async fn a_401_that_hides_in_a_result_is_confirmed_too() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.backend.answer(200, "application/json", HIDDEN);
    kit.provider.kill();
    assert_eq!(kit.call(&token).await.text, HIDDEN, "it passes as it is");
    assert!(is_told(&kit.call(&token).await));
    assert!(asks_to_sign_in(&kit.call(&token).await));
    assert_eq!((kit.provider.asked(), kit.backend.seen().len()), (1, 1));
}

#[tokio::test]
async fn the_call_after_a_hidden_401_waits_for_the_providers_word() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.backend.answer(200, "application/json", HIDDEN);
    kit.provider.kill();
    let silence = kit.provider.turn.clone().lock_owned().await;
    assert_eq!(kit.call(&token).await.text, HIDDEN);
    let before = looked_up(&kit);
    let speaks = async {
        until(async || looked_up(&kit) > before && kit.provider.asked() == 1).await;
        drop(silence);
    };
    let (second, third, ()) = tokio::join!(kit.call(&token), kit.call(&token), speaks);
    // Both waited; which of the two is the first is not said.
    let told = [&second, &third].into_iter().filter(|answer| is_told(answer)).count();
    let asked = [&second, &third].into_iter().filter(|answer| asks_to_sign_in(answer)).count();
    assert!(told >= 1 && told + asked == 2, "{second:?} {third:?}");
    assert_eq!(kit.backend.seen().len(), 1, "the first call alone reached the backend");
}

#[tokio::test]
async fn calls_that_are_refused_together_ask_one_question_and_share_its_answer() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.backend.answer(401, "application/json", "{}");
    kit.provider.kill();
    let silence = kit.provider.turn.clone().lock_owned().await;
    let speaks = async {
        until(async || looked_up(&kit) >= 2 && kit.provider.asked() == 1).await;
        drop(silence);
    };
    let (one, two, ()) = tokio::join!(kit.call(&token), kit.call(&token), speaks);
    for answer in [one, two] {
        assert!(is_told(&answer) || asks_to_sign_in(&answer), "{answer:?}");
    }
    assert_eq!(kit.provider.asked(), 1);
}

#[tokio::test]
async fn nobody_waits_for_another_user_or_for_a_provider_that_does_not_speak() {
    let kit = Kit::start().await;
    let (one, two) = (kit.sign_in("1").await, kit.sign_in("2").await);
    kit.backend.answer(200, "application/json", HIDDEN);
    let _silence = kit.provider.turn.clone().lock_owned().await;
    assert_eq!(kit.call(&one).await.text, HIDDEN);
    until(async || kit.provider.asked() == 1).await;
    let own = async {
        let answer = kit.call(&one).await;
        assert_eq!(answer.text, HIDDEN, "at last it goes on without the provider's word");
        false
    };
    let others = async {
        assert_eq!(kit.call(&two).await.text, HIDDEN);
        true
    };
    let (others_first, own) = select(Box::pin(own), Box::pin(others)).await.factor_first();
    assert!(others_first, "nobody else waits");
    own.await;
}

#[tokio::test]
async fn a_modern_result_says_that_it_is_complete() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.provider.kill();
    kit.backend.answer(401, "application/json", "{}");
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "whoami", "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}});
    let headers =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "whoami")];
    let answer = kit.post_with(&token, &headers, message.to_string()).await;
    assert!(is_told(&answer));
    assert_eq!(answer.json()["result"]["resultType"], "complete");
}
