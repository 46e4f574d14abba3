//! 86 to 89: refresh tokens.

use e2e::{balancer::REPLICA, browser::Browser, oauth::OAuthClient};

use crate::{
    load::REPLICAS,
    world::{Attack, dies, works},
};

async fn signed_in(attack: &Attack) -> (OAuthClient, Browser, String, String) {
    let client = attack.client(attack.a()).await;
    let browser = attack.visitor();
    let (access, refresh) = client.tokens(&browser).await;
    (client, browser, access, refresh)
}

pub(crate) async fn r086_reuse_ends_the_family(attack: &Attack) {
    let (client, browser, access, first) = signed_in(attack).await;
    let (other_access, _) = client.tokens(&browser).await;
    let second = client.refresh(&first).await;
    let third = client.refresh(&second.get("refresh_token")).await;
    assert_eq!(third.status, 200, "{}", third.text);
    let reused = client.refresh(&first).await;
    assert!(reused.is_error(400, "invalid_grant"), "{}", reused.text);
    for token in [&access, &second.get("access_token"), &third.get("access_token")] {
        dies(&client, token).await;
    }
    for token in [second.get("refresh_token"), third.get("refresh_token")] {
        assert!(client.refresh(&token).await.is_error(400, "invalid_grant"));
    }
    assert!(
        works(&client, &other_access, browser.user()).await,
        "another sign-in of the same user and client lives on"
    );
}

pub(crate) async fn r087_a_lost_answer_is_given_again(attack: &Attack) {
    let (client, browser, _, first) = signed_in(attack).await;
    let lost = client.refresh(&first).await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", first.as_str())];
    for replica in REPLICAS.into_iter().cycle().take(4) {
        let again = client.post("/oauth/token", &form, &[(REPLICA, replica)]).await;
        assert_eq!(again.get("access_token"), lost.get("access_token"));
        assert_eq!(again.get("refresh_token"), lost.get("refresh_token"));
    }
    assert!(works(&client, &lost.get("access_token"), browser.user()).await);
    let next = client.refresh(&lost.get("refresh_token")).await;
    assert_eq!(next.status, 200, "{}", next.text);
    assert!(works(&client, &next.get("access_token"), browser.user()).await);
}

pub(crate) async fn r089_a_refresh_token_is_its_clients_own(attack: &Attack) {
    let (client, _, access, refresh) = signed_in(attack).await;
    let other = attack.client(attack.a()).await;
    let confidential = attack.client_as(attack.a(), "client_secret_post", e2e::oauth::REDIRECT_URI).await;
    for thief in [&other, &confidential] {
        assert!(thief.refresh(&refresh).await.is_error(400, "invalid_grant"));
    }
    // Nothing that is nearly the token, or another kind of secret, is one.
    let (cut, longer) = (&refresh[..refresh.len() - 1], format!("{refresh}A"));
    let mut flipped = refresh.clone().into_bytes();
    flipped[20] = if flipped[20] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).unwrap();
    for bad in [cut, &longer, &flipped, &access, "", "x", "null", &"A".repeat(9000)] {
        let answer = client.refresh(bad).await;
        let missing = bad.is_empty() && answer.is_error(400, "invalid_request");
        assert!(
            missing || answer.is_error(400, "invalid_grant"),
            "{bad:.40}: {} {}",
            answer.status,
            answer.text
        );
    }
    let grown =
        [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("scope", "mcp admin\"")];
    assert!(client.token(&grown).await.is_error(400, "invalid_scope"));
    let renewed = client.refresh(&refresh).await;
    assert_eq!(renewed.status, 200, "the thieves ended nothing: {}", renewed.text);
}
