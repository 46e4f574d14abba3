//! The absolute end of a sign-in (`lifetimes.signIn`): no refresh gets past it.

use e2e::{browser::Browser, manifests::OIDC, net::eventually, oauth::OAuthClient};

use crate::Sso;

/// How long a sign-in lasts, in seconds: no longer than a token would by itself.
const SIGN_IN: i64 = 6;

fn brief() -> String {
    let lasts = format!("{SIGN_IN}s");
    format!(
        "{OIDC}---
apiVersion: gatehouse.dev/v1alpha1
kind: OAuthClientPolicy
metadata: {{ name: default, namespace: team-a }}
spec:
  targetRefs: [{{ selector: {{}} }}]
  lifetimes: {{ accessToken: {lasts}, refreshToken: {lasts}, refreshGrace: 1s, signIn: {lasts} }}
"
    )
}

#[tokio::test]
async fn a_sign_in_ends_however_often_it_was_refreshed() {
    let sso = Sso::of(&brief()).await;
    let client = OAuthClient::register(&sso.gateway.issuer).await;
    let browser = Browser::of("alice");
    let code = client.code(&browser).await;
    let before = sso.redis.second().await;
    let first = client.redeem(&code).await;
    let after = sso.redis.second().await;
    let (mut access, mut refresh) = (first.get("access_token"), first.get("refresh_token"));
    let mut refreshed = 0;
    let refused = eventually("the sign-in to end", async || {
        let asked = sso.redis.second().await;
        let answer = client.refresh(&refresh).await;
        if answer.status != 200 {
            return Some(answer);
        }
        let promised = answer.json()["expires_in"].as_i64().unwrap();
        assert!(asked + promised <= after + 1 + SIGN_IN, "a token of {promised} s outlives its sign-in");
        (access, refresh) = (answer.get("access_token"), answer.get("refresh_token"));
        refreshed += 1;
        None
    })
    .await;
    assert!(refused.is_error(400, "invalid_grant"), "{} {}", refused.status, refused.text);
    assert!(sso.redis.second().await >= before + SIGN_IN, "it ended before its time");
    assert!(refreshed > 1, "it was refreshed {refreshed} times");
    assert_eq!(client.whoami(Some(&access)).await.status, 401);
    // Another one is another.
    let (_, refresh) = client.tokens(&browser).await;
    assert_eq!(client.refresh(&refresh).await.status, 200);
}
