//! A refresh asks the identity provider about its user again: what it answers when the provider is away, refuses the user,
//! or is asked by many at once. Row 92 of the attacks is the same from the other side.

use e2e::{
    browser::Browser,
    manifests::OIDC,
    net::eventually,
    oauth::{Answer, OAuthClient},
};
use futures::future::join_all;

use crate::Sso;

const SENTENCE: &str = "Your 127.0.0.1 session expired, please sign in again.";

impl Sso {
    async fn rechecking(recheck: &str) -> Self {
        Self::of(&rechecking(recheck)).await
    }

    /// How often the provider was asked about a user.
    fn asked(&self) -> usize {
        self.idp.requests().iter().filter(|r| r.uri.path() == "/userinfo").count()
    }

    async fn signed_in(&self) -> (OAuthClient, String) {
        let client = OAuthClient::register(&self.gateway.issuer).await;
        let (_, refresh) = client.tokens(&Browser::of("alice")).await;
        (client, refresh)
    }
}

fn rechecking(recheck: &str) -> String {
    OIDC.replace("access: {", &format!("access: {{ recheck: {{ {recheck} }},"))
}

/// The token that replaced `refresh`.
fn next(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.get("refresh_token")
}

/// The answer to the refresh at which the provider was asked and its user refused.
async fn until_refused(client: &OAuthClient, refresh: &mut String) -> Answer {
    eventually("a refresh to be due for a check", async || {
        let answer = client.refresh(refresh).await;
        if answer.status != 200 {
            return Some(answer);
        }
        *refresh = answer.get("refresh_token");
        None
    })
    .await
}

#[tokio::test]
async fn an_outage_of_the_provider_is_tolerated_for_a_while_and_burns_nothing() {
    let sso = Sso::rechecking("every: 1s, tolerate: 8s").await;
    let (client, mut refresh) = sso.signed_in().await;
    let before = sso.asked();
    sso.idp.set_outage(true);
    eventually("a refresh to be due for a check", async || {
        refresh = next(&client.refresh(&refresh).await);
        (sso.asked() > before).then_some(())
    })
    .await;
    let refused = eventually("the outage to be tolerated no longer", async || {
        let answer = client.refresh(&refresh).await;
        if answer.status == 503 {
            return Some(answer);
        }
        refresh = next(&answer);
        None
    })
    .await;
    assert_eq!(refused.get("error"), "temporarily_unavailable", "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty(), "{:?}", refused.headers);
    assert_eq!(refused.header("cache-control"), "no-store");
    // As long as it lasts, on either replica; then the same token is as good as it was.
    for _ in 0..4 {
        assert_eq!(client.refresh(&refresh).await.status, 503);
    }
    sso.idp.set_outage(false);
    let answer = eventually("the provider to be asked again", async || {
        let answer = client.refresh(&refresh).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    next(&answer);
}

#[tokio::test]
async fn a_user_whom_the_provider_refuses_signs_in_again_and_nothing_of_theirs_is_revoked() {
    let sso = Sso::rechecking("every: 1s, tolerate: 1h").await;
    let (client, mut refresh) = sso.signed_in().await;
    sso.idp.revoke("alice");
    let refused = until_refused(&client, &mut refresh).await;
    for answer in [refused, client.refresh(&refresh).await, client.refresh(&refresh).await] {
        assert!(answer.is_error(400, "invalid_grant"), "{} {}", answer.status, answer.text);
        assert_eq!(answer.get("error_description"), SENTENCE, "{}", answer.text);
    }
    let (_, other) = sso.signed_in().await;
    assert_ne!(other, refresh);
    next(&client.refresh(&refresh).await);
}

#[tokio::test]
async fn many_refreshes_at_once_over_both_replicas_ask_the_provider_once() {
    const EVERY: i64 = 6;
    let sso = Sso::rechecking(&format!("every: {EVERY}s, tolerate: 1h")).await;
    let clients = [sso.signed_in().await, sso.signed_in().await, sso.signed_in().await];
    sso.redis.until(sso.redis.second().await + EVERY + 1).await;
    let before = sso.asked();
    // Each client sends its token ten times at once, as hosts do that hold several sessions.
    let at_once = clients.iter().flat_map(|client| std::iter::repeat_n(client, 10));
    let answers = join_all(at_once.map(|(client, refresh)| client.refresh(refresh))).await;
    for answers in answers.chunks(10) {
        let tokens: Vec<_> = answers.iter().map(next).collect();
        assert!(tokens.iter().all(|token| *token == tokens[0]), "all get the one successor");
    }
    assert_eq!(sso.asked() - before, 1, "{:#?}", sso.idp.requests());
}

#[tokio::test]
async fn a_provider_without_user_info_is_asked_by_renewal() {
    let sso = Sso::at(&rechecking("every: 1s, tolerate: 1h"), false).await;
    let (client, mut refresh) = sso.signed_in().await;
    let asked = || sso.idp.requests().iter().filter(|r| r.uri.path() == "/token").count();
    let before = asked();
    eventually("a refresh to be due for a check", async || {
        refresh = next(&client.refresh(&refresh).await);
        (asked() > before).then_some(())
    })
    .await;
    sso.idp.revoke("alice");
    let refused = until_refused(&client, &mut refresh).await;
    assert!(refused.is_error(400, "invalid_grant"), "{} {}", refused.status, refused.text);
    assert_eq!(refused.get("error_description"), SENTENCE, "{}", refused.text);
}
