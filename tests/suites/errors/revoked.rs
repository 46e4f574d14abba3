//! 11: an upstream token that died gives the clear sentence, at once and without a loop.

use e2e::{
    backend::Fault,
    browser::Browser,
    clients::{Sdk, Session},
    oauth::OAuthClient,
};
use serde_json::json;

use crate::{Hub, Sso};

const SENTENCE: &str = "Your GitHub session expired, please sign in again.";

#[tokio::test]
async fn e11_a_real_client_is_told_and_then_signs_in_again() {
    let hub = Hub::start(1).await;
    let mut alice = Session::connect(Sdk::TypeScript1, &hub.gateway.url, "alice").await;
    assert_eq!(alice.whoami().await, "alice");
    // The backend hides GitHub's 401 in a tool result, which passes once.
    hub.github.revoke("alice");
    let answer = alice.call("whoami", json!({})).await;
    assert!(answer.is_error && answer.text.contains("Bad credentials"), "{answer:?}");
    let answer = alice.call("whoami", json!({})).await;
    assert!(answer.is_error && answer.text.contains(SENTENCE), "{answer:?}");
    // Its next call meets the 401 and opens the browser; that mends it. Its stream may open another tab, of which nothing comes.
    let answer = alice.call("whoami", json!({})).await;
    assert_eq!((answer.text.as_str(), hub.tap.redeemed()), ("alice", 2), "{answer:?}");
    alice.close().await;
}

#[tokio::test]
async fn e11_a_real_client_reads_the_sentence_when_the_backend_itself_answers_401() {
    let hub = Hub::start(1).await;
    let mut alice = Session::connect(Sdk::TypeScript2, &hub.gateway.url, "alice").await;
    assert_eq!(alice.whoami().await, "alice");
    hub.github.revoke("alice");
    hub.backend.set_fault(Some(Fault::Status(401)));
    let answer = alice.call("whoami", json!({})).await;
    assert_eq!((answer.text.as_str(), answer.is_error, answer.sign_ins), (SENTENCE, true, 1), "{answer:?}");
    hub.backend.set_fault(None);
    let answer = alice.call("whoami", json!({})).await;
    assert_eq!((answer.text.as_str(), answer.sign_ins), ("alice", 2), "{answer:?}");
    alice.close().await;
}

/// Of OpenID Connect nothing is known but the status in the backend's words.
#[tokio::test]
async fn e11_a_real_client_of_an_openid_connect_user_is_told_and_then_signs_in_again() {
    let sso = Sso::start().await;
    let mut alice = Session::connect(Sdk::Python, &sso.gateway.url, "alice").await;
    assert_eq!(alice.whoami().await, "alice");
    sso.idp.revoke("alice");
    // Of two replicas the other one may pass the backend's words, too, until the provider has answered the first.
    let answer = e2e::net::eventually("the sentence", async || {
        let answer = alice.call("whoami", json!({})).await;
        (answer.text != "Request failed with status code 401").then_some(answer)
    })
    .await;
    let sentence = "Your 127.0.0.1 session expired, please sign in again.";
    assert!(answer.is_error && answer.text.contains(sentence), "{answer:?}");
    let answer = alice.call("whoami", json!({})).await;
    assert_eq!((answer.text.as_str(), answer.sign_ins), ("alice", 2), "{answer:?}");
    alice.close().await;
}

#[tokio::test]
async fn e11_a_backend_that_answers_401_is_understood_too() {
    let hub = Hub::start(1).await;
    let client = OAuthClient::register(&hub.gateway.issuer).await;
    let (access, refresh) = client.tokens(&Browser::of("alice")).await;
    hub.github.revoke("alice");
    hub.backend.set_fault(Some(Fault::Status(401)));
    let first = client.whoami(Some(&access)).await;
    assert!(first.text.contains(SENTENCE), "{} {}", first.status, first.text);
    assert!(!first.text.contains("the backend's own words") && !first.challenge.contains("backend"));
    let second = client.whoami(Some(&access)).await;
    assert_eq!(second.status, 401, "{}", second.text);
    assert!(second.challenge.contains(SENTENCE) && second.text.contains(SENTENCE), "{}", second.challenge);
    let refused = client.refresh(&refresh).await;
    assert_eq!(refused.get("error"), "invalid_grant", "{}", refused.text);
    assert!(refused.get("error_description").contains(SENTENCE), "{}", refused.text);
    // Signing in again mends every client of the user, the old one included.
    hub.backend.set_fault(None);
    client.tokens(&Browser::of("alice")).await;
    assert_eq!(client.whoami(Some(&access)).await.status, 200);
}

#[tokio::test]
async fn a_backend_401_while_the_identity_lives_is_a_tool_error_and_no_loop() {
    let hub = Hub::start(1).await;
    let client = OAuthClient::register(&hub.gateway.issuer).await;
    let (access, _) = client.tokens(&Browser::of("alice")).await;
    hub.backend.set_fault(Some(Fault::Status(401)));
    for _ in 0..3 {
        let answer = client.whoami(Some(&access)).await;
        assert_ne!(answer.status, 401, "{}", answer.text);
        assert!(!answer.text.contains(SENTENCE), "{}", answer.text);
    }
    hub.backend.set_fault(None);
    assert_eq!(client.whoami(Some(&access)).await.status, 200);
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed_without_anybody_noticing() {
    let hub = Hub::start(2).await;
    let client = OAuthClient::register(&hub.gateway.issuer).await;
    let (access, _) = client.tokens(&Browser::of("alice")).await;
    hub.github.expire_tokens("alice");
    e2e::net::eventually("alice to be known again", async || {
        let answer = client.whoami(Some(&access)).await;
        assert!(!answer.text.contains(SENTENCE), "{}", answer.text);
        (answer.json()["result"]["content"][0]["text"] == "alice").then_some(())
    })
    .await;
    assert_eq!(hub.github.tokens_of("alice").len(), 1, "one renewal, over all replicas");
}
