//! What "Cancel" takes back, and what a page says of a sign-in that is over.

use http::StatusCode;
use serde_json::json;

use crate::{
    callback::return_path,
    support::{Answer, Browser, Gateway, authorization, authorize_path, config, redeem, refresh, seconds},
};

fn cancelled(answer: &Answer) -> bool {
    answer.redirect_param("error").as_deref() == Some("access_denied")
        && answer.redirect_param("code").is_none()
}

#[tokio::test]
async fn cancelling_after_back_from_the_provider_ends_the_sign_in() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let asked = browser.get(&gateway, &page.link("approve")).await;
    gateway.trail.take();
    assert!(cancelled(&browser.get(&gateway, &page.link("deny")).await));
    assert_eq!(gateway.trail.decisions(), ["consent denied after_approval"]);
    // In another tab the provider is still open.
    gateway.provider.signs_in("42");
    let late = browser.get(&gateway, &return_path(&asked)).await;
    assert!(late.is_page(200) && late.body.contains("You cancelled"), "{late:?}");
    assert!(gateway.provider.exchanged.lock().unwrap().is_empty());
}

#[tokio::test]
async fn cancelling_withdraws_a_code_that_nobody_redeemed() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.consent(&gateway, &client, "alice").await;
    let code = browser.get(&gateway, &page.link("approve")).await.redirect_param("code").unwrap();
    gateway.trail.take();
    assert!(cancelled(&browser.get(&gateway, &page.link("deny")).await));
    let told = gateway.trail.take();
    assert_eq!((told.len(), &told[0]["reason"]), (1, &json!("code_withdrawn")));
    assert!(told[0]["grant"].is_string(), "{told:?}");
    assert!(gateway.token(&redeem(&client, &code)).await.is_error(400, "invalid_grant"));
    for link in ["deny", "approve"] {
        let again = browser.get(&gateway, &page.link(link)).await;
        assert!(again.is_page(200) && again.body.contains("You cancelled"), "{again:?}");
    }
}

#[tokio::test]
async fn what_was_cancelled_is_not_called_approved() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = async |browser: &mut Browser, approved| {
        let page = browser.consent(&gateway, &client, "alice").await;
        assert_eq!(page.body.contains("You approved this on"), approved, "{}", page.body);
        page
    };
    for approved in [false, true] {
        let shown = page(&mut browser, approved).await;
        assert!(browser.get(&gateway, &shown.link("approve")).await.redirect_param("code").is_some());
        assert!(cancelled(&browser.get(&gateway, &shown.link("deny")).await));
        let shown = page(&mut browser, approved).await;
        let code = browser.get(&gateway, &shown.link("approve")).await.redirect_param("code").unwrap();
        assert_eq!(gateway.token(&redeem(&client, &code)).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_is_connected_is_disconnected_not_cancelled() {
    let gateway = Gateway::local();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.consent(&gateway, &client, "alice").await;
    let code = browser.get(&gateway, &page.link("approve")).await.redirect_param("code").unwrap();
    let tokens = gateway.token(&redeem(&client, &code)).await.json();
    let late = browser.get(&gateway, &page.link("deny")).await;
    assert!(late.is_page(200) && late.body.contains("It is too late to cancel"), "{late:?}");
    assert!(late.body.contains("href=\"/account\""), "{}", late.body);
    let again = browser.get(&gateway, &page.link("approve")).await;
    assert!(again.is_page(200) && again.body.contains("Your application is connected."), "{again:?}");
    // Connected is what it says only as long as it is true.
    let token = tokens["refresh_token"].as_str().unwrap();
    gateway.revoke(&[("client_id", &client.id), ("token", token)]).await;
    assert!(gateway.token(&refresh(&client, token)).await.is_error(400, "invalid_grant"));
    for link in ["deny", "approve"] {
        let over = browser.get(&gateway, &page.link(link)).await;
        assert!(over.is_page(400) && over.body.contains("This sign-in is over"), "{over:?}");
    }
}

#[tokio::test]
async fn a_code_that_expired_connected_nothing() {
    let mut config = config();
    config["policy"]["lifetimes"] = json!({
        "authorizationCode": "5s", "accessToken": "1h", "refreshToken": "720h", "refreshGrace": "0s", "signIn": "8760h",
    });
    let gateway = Gateway::new(config);
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.consent(&gateway, &client, "alice").await;
    let answer = browser.get(&gateway, &page.link("approve")).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    gateway.clock.advance(seconds(6));
    let over = browser.get(&gateway, &page.link("approve")).await;
    assert!(over.is_page(400) && over.body.contains("This sign-in is over"), "{over:?}");
}
