//! Attack 22: a body that says that it is encoded is not read, whether or not it is. Nothing here undoes compression, so
//! nothing may differ between what was sent and what a proxy makes of it.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::json;

use crate::support::{
    Browser, Client, Gateway, authorization, authorize_path, form, gzip, redeem, refresh, request,
};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// What a well-formed request answers here, after each of its encoded forms was refused.
async fn plain_alone(gateway: &Gateway, path: &str, kind: &str, body: &str) -> StatusCode {
    let send = async |encoding: &str, body: Vec<u8>| {
        let headers = [("content-type", kind), ("content-encoding", encoding)];
        gateway.send(request(Method::POST, path, &headers, Body::from(body))).await
    };
    for encoding in ["gzip", "GZIP", "x-gzip", "identity, gzip", "deflate", "br", "zstd", "unknown"] {
        for body in [gzip(body.as_bytes()), body.as_bytes().to_vec()] {
            let answer = send(encoding, body).await;
            assert!(answer.is_error(415, "invalid_request"), "{path} {encoding}: {answer:?}");
            assert_eq!(answer.header("accept-encoding"), "identity", "{path} {encoding}");
        }
    }
    send("Identity", body.as_bytes().to_vec()).await.status
}

#[tokio::test]
async fn an_encoded_body_is_refused_and_has_no_effect() {
    let gateway = Gateway::local();
    let metadata =
        json!({"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "none"});
    let registered = plain_alone(&gateway, "/oauth/register", JSON, &metadata.to_string()).await;
    assert_eq!(registered, StatusCode::CREATED);

    let client = gateway.public_client().await;
    let code = gateway.code(&mut Browser::default(), &client).await;
    let redeemed = plain_alone(&gateway, "/oauth/token", FORM, &form(&redeem(&client, &code))).await;
    assert_eq!(redeemed, StatusCode::OK);

    let tokens = gateway.tokens(&client).await;
    let access = tokens["access_token"].as_str().unwrap();
    let revocation = form(&[("client_id", &client.id), ("token", access)]);
    assert_eq!(plain_alone(&gateway, "/oauth/revoke", FORM, &revocation).await, StatusCode::OK);
    let renewed = gateway.token(&refresh(&client, tokens["refresh_token"].as_str().unwrap())).await;
    assert!(renewed.is_error(400, "invalid_grant"), "{renewed:?}");
}

#[tokio::test]
async fn an_encoded_form_of_a_page_is_refused() {
    let gateway = Gateway::local();
    let client: Client = gateway.public_client().await;
    let mut browser = Browser::default();
    let sign_in = browser.get(&gateway, &authorize_path(&authorization(&client))).await.location().to_owned();
    let page = browser.get(&gateway, &sign_in).await;
    let (flow, token) = (page.field("flow"), page.field("token"));
    let params = [("flow", flow.as_str()), ("token", &token), ("username", "alice"), ("password", "alice")];
    let encoded = [("content-encoding", "gzip")];
    assert!(browser.post_with(&gateway, "/oauth/signin", &params, &encoded).await.is_page(400));
    assert_eq!(browser.post(&gateway, "/oauth/signin", &params).await.status, StatusCode::SEE_OTHER);
}
