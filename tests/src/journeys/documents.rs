//! What people see who are asked about a client that has a document.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{APPROVE, pages::look, sign_in};
use crate::{
    dev::Setup,
    manifests::{DEFAULT_LIFETIMES, with_documents},
    net::http,
    oauth::{OAuthClient, REDIRECT_URI},
    tap::Tap,
    web,
    webdriver::{Kind, WebDriver},
};

/// Looks at the consent page of each kind of client that its document's host vouches for: one on the web is warned of as
/// what gets the access, one on the user's device as what any program there can say that it is.
pub async fn every_page_of_a_document(kind: Kind) {
    let allowed = "redirectUris: { allow: [\"https://reports.client.test/callback\"] }\n  lifetimes:";
    let manifest = with_documents(web::hosts().map(|(_, host)| host)).replace("lifetimes:", allowed);
    let setup = Setup::https("tools.test", &manifest);
    let setup = setup.with("backend", "http://127.0.0.1:9/mcp").with("lifetimes", DEFAULT_LIFETIMES);
    let gateway = setup.watched(&Arc::new(Tap::default())).start().await;
    let browser = WebDriver::start(kind).await;
    let anybody = "can say that it is Report Builder";
    for (name, redirect_uri, says) in [
        ("web", "https://reports.client.test/callback", None),
        ("loopback", "http://127.0.0.1/callback", Some("Any program on this computer can say")),
        ("application", REDIRECT_URI, Some("Any app on this device can say")),
    ] {
        let document = format!("https://client.test/{name}.json");
        web::publish(&document, describe(redirect_uri));
        let client = OAuthClient::named(http(), &gateway.issuer, &document, redirect_uri);
        browser.open(&client.authorize_url()).await;
        if name == "web" {
            sign_in(&browser, "alice", "alice").await;
        }
        browser.wait_for(APPROVE).await;
        look(&browser, &format!("consent-document-{name}")).await;
        let text = browser.text().await;
        for part in ["Report Builder", "Identified by client.test", redirect_uri, "alice"] {
            assert!(text.contains(part), "{part} is not on the consent page:\n{text}");
        }
        assert!(!text.contains("Unverified"), "its host vouches for it:\n{text}");
        assert!(says.is_none_or(|says| text.contains(says)), "no {says:?} on the consent page:\n{text}");
        assert_eq!(text.contains(anybody), says.is_some(), "{name}:\n{text}");
        let receives = "trust reports.client.test: it will receive the access";
        assert_eq!(text.contains(receives), says.is_none(), "{name}:\n{text}");
    }
    assert_eq!(browser.forbidden().await, Vec::<String>::new());
}

fn describe(redirect_uri: &str) -> Value {
    json!({
        "client_name": "Report Builder", "redirect_uris": [redirect_uri], "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
    })
}
