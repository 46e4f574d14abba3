//! 1 to 5: what clients read before anybody has signed in.

use e2e::{
    browser::Browser,
    clients::{Sdk, Session},
    dev::Setup,
    net::http,
    oauth::{Answer, OAuthClient},
};
use serde_json::{Value, json};

fn empty_or_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().any(empty_or_null),
        Value::Object(members) => members.values().any(empty_or_null),
        _ => false,
    }
}

#[tokio::test]
async fn e01_registration_answers_hold_no_null_and_no_empty_text() {
    let gateway = Setup::demo().start().await;
    for body in [
        json!({ "redirect_uris": ["http://localhost:1/callback"] }),
        json!({ "redirect_uris": ["http://localhost:1/callback"], "client_uri": "", "logo_uri": "", "client_name": "" }),
        json!({ "redirect_uris": ["http://localhost:1/callback"], "client_uri": null, "contacts": null, "scope": null,
                "software_id": "x", "application_type": "native", "grant_types": ["authorization_code", "refresh_token"] }),
    ] {
        let request = http().post(format!("{}/oauth/register", gateway.issuer)).json(&body);
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        assert!(!empty_or_null(&answer.json()), "{}", answer.text);
        assert_eq!(answer.json()["redirect_uris"], body["redirect_uris"]);
        assert!(answer.json()["client_id_issued_at"].is_i64(), "{}", answer.text);
    }
}

#[tokio::test]
async fn e02_the_resource_document_is_public_at_the_path_and_at_the_root() {
    let gateway = Setup::demo().start().await;
    for path in ["/mcp", "/mcp/", ""] {
        for version in ["2024-11-05", "2026-07-28", "nonsense"] {
            let url = format!("{}/.well-known/oauth-protected-resource{path}", gateway.issuer);
            let request = http().get(&url).header("mcp-protocol-version", version);
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.status, 200, "{url}");
            assert_eq!(answer.get("resource"), gateway.url);
            assert_eq!(answer.json()["authorization_servers"][0], gateway.issuer);
        }
    }
}

#[tokio::test]
async fn e03_every_401_says_where_to_sign_in() {
    let gateway = Setup::demo().start().await;
    for method in ["GET", "POST", "DELETE"] {
        for token in [None, Some("nonsense")] {
            let mut request = http().request(method.parse().unwrap(), &gateway.url);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = Answer::of(request.send().await.unwrap()).await;
            assert_eq!(answer.status, 401, "{method} {token:?}");
            let start = "Bearer ";
            assert!(answer.challenge.starts_with(start), "{}", answer.challenge);
            assert_eq!(
                answer.challenge.contains("error=\"invalid_token\""),
                token.is_some(),
                "{}",
                answer.challenge
            );
            let (_, rest) =
                answer.challenge.split_once("resource_metadata=\"").expect("it names the document");
            let document = rest.split('"').next().unwrap();
            let answer = Answer::of(http().get(document).send().await.unwrap()).await;
            assert_eq!(answer.get("resource"), gateway.url);
        }
    }
}

#[tokio::test]
async fn e04_approval_is_a_link_that_leads_straight_to_the_client() {
    let gateway = Setup::demo().start().await;
    let client = OAuthClient::register(&gateway.issuer).await;
    let browser = Browser::of("alice");
    let page = browser.open(&client.authorize_url()).await;
    let consent = browser.next(&page).await.expect("the sign-in page");
    assert!(consent.approve_link().is_some(), "{}", consent.body);
    let mut forms = consent.body.split("<form").skip(1).map(|form| form.split('>').next().unwrap());
    assert!(!forms.any(|form| form.contains("approve")), "{}", consent.body);
    let denied = browser.follow(&consent, &consent.deny_link().expect("a link to refuse")).await;
    assert_eq!(denied.parameter("error").as_deref(), Some("access_denied"));
    assert_eq!(denied.parameter("state").as_deref(), Some("the-state"));
    let landed = client.sign_in(&browser).await;
    assert_eq!((landed.status, landed.url.scheme()), (0, "cursor"));
    assert_eq!(landed.parameter("iss").as_deref(), Some(gateway.issuer.as_str()));
}

#[tokio::test]
async fn e05_every_way_to_authenticate_a_client_works() {
    let gateway = Setup::demo().start().await;
    for method in ["none", "client_secret_post", "client_secret_basic"] {
        let client = OAuthClient::register_as(&gateway.issuer, method).await;
        assert_eq!(
            client.registration["client_secret"].is_string(),
            method != "none",
            "{}",
            client.registration
        );
        let browser = Browser::of("alice");
        client.tokens(&browser).await;
        if method != "none" {
            let mut impostor = client.clone();
            impostor.registration["client_secret"] = "guessed".into();
            let answer = impostor.redeem(&client.code(&browser).await).await;
            assert_eq!(
                (answer.status, answer.get("error").as_str()),
                (401, "invalid_client"),
                "{}",
                answer.text
            );
        }
        // A real client that was told to authenticate in this way.
        let mut session =
            Session::connect_with(Sdk::TypeScript1, &gateway.url, "alice", &[("AUTH_METHOD", method)]).await;
        assert_eq!(session.whoami().await, "alice");
        session.close().await;
    }
}
