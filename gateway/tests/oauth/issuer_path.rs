//! An issuer with a path: a whole sign-in by what documents, redirects and pages say alone.

use axum::body::Body;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    callback::return_path,
    support::{
        Answer, Browser, CALLBACK, Client, Gateway, authorization, config, form, provider_config, redeem,
        refresh, request, with,
    },
};

const URL: &str = "https://gw.test/t/x/mcp";
const ISSUER: &str = "https://gw.test/t/x";

/// Its backend is one that the egress rule forbids: a call that is let in is 502.
fn below(mut config: Value) -> Gateway {
    config["url"] = json!(URL);
    config["issuer"] = json!(ISSUER);
    config["backends"][0]["target"]["url"] = json!("https://10.255.255.1/mcp");
    Gateway::new(config)
}

/// What a client has found out, and who it is.
struct Found {
    server: Value,
    client: Client,
}

impl Found {
    /// From a call without a token to a registration.
    async fn by_a_call(gateway: &Gateway) -> Self {
        let refused = call(gateway, None).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        let (_, named) = refused.header("www-authenticate").split_once("resource_metadata=\"").unwrap();
        let resource = gateway.get(path(named.split('"').next().unwrap())).await.json();
        assert_eq!(
            (&resource["resource"], &resource["authorization_servers"]),
            (&json!(URL), &json!([ISSUER]))
        );
        let document = format!("/.well-known/oauth-authorization-server{}", path(ISSUER));
        let server = gateway.get(&document).await.json();
        assert_eq!(server["issuer"], ISSUER);
        let asked =
            json!({"redirect_uris": ["http://127.0.0.1/callback"], "token_endpoint_auth_method": "none"});
        let registered = gateway.post_json(path(text(&server, "registration_endpoint")), asked).await;
        assert_eq!(registered.status, StatusCode::CREATED, "{registered:?}");
        let id = text(&registered.json(), "client_id").to_owned();
        Self { server, client: Client { id, secret: None } }
    }

    fn authorize(&self) -> String {
        let asked = with(authorization(&self.client), "resource", Some(URL));
        format!("{}?{}", path(text(&self.server, "authorization_endpoint")), form(&asked))
    }

    /// Posts a form to an endpoint.
    async fn post(&self, gateway: &Gateway, endpoint: &str, params: &[(&str, &str)]) -> Answer {
        Browser::default().post(gateway, path(text(&self.server, endpoint)), params).await
    }

    /// What a client does with the answer to its request; its access token.
    async fn goes_on(&self, gateway: &Gateway, answer: &Answer) -> Value {
        assert!(answer.location().starts_with(CALLBACK), "{answer:?}");
        assert_eq!(answer.redirect_param("iss").as_deref(), Some(ISSUER));
        let code = answer.redirect_param("code").unwrap();
        let params = with(redeem(&self.client, &code), "resource", Some(URL));
        let first = self.post(gateway, "token_endpoint", &params).await.json();
        let params = refresh(&self.client, text(&first, "refresh_token"));
        let tokens = self.post(gateway, "token_endpoint", &with(params, "resource", Some(URL))).await.json();
        let called = call(gateway, Some(text(&tokens, "access_token"))).await;
        assert_eq!(called.status, StatusCode::BAD_GATEWAY, "{called:?}");
        tokens
    }
}

fn text<'a>(json: &'a Value, member: &str) -> &'a str {
    json[member].as_str().unwrap_or_else(|| panic!("no {member} in {json}"))
}

/// The path of a URL of this host.
fn path(url: &str) -> &str {
    url.strip_prefix("https://gw.test").unwrap()
}

async fn call(gateway: &Gateway, token: Option<&str>) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "whoami"}});
    gateway.send(request(Method::POST, path(URL), &headers, Body::from(message.to_string()))).await
}

/// A page or a redirect of a host that other servers share: it leads nowhere else on it.
fn stays_below(answer: &Answer) {
    let links = answer
        .body
        .split([' ', '<'])
        .filter_map(|word| word.strip_prefix("href=\"/").or_else(|| word.strip_prefix("action=\"/")));
    let found = links.map(|link| assert!(link.starts_with("t/x/"), "{link}: {}", answer.body)).count();
    if answer.status == StatusCode::SEE_OTHER {
        let location = answer.location();
        assert!(!location.starts_with('/') || location.starts_with("/t/x/"), "{location}");
    } else {
        assert!(found > 0, "{answer:?}");
    }
}

/// Disconnects the client on the account page.
async fn disconnect(gateway: &Gateway, browser: &mut Browser, account: &Answer) {
    stays_below(account);
    assert!(account.body.contains("Disconnect"), "{account:?}");
    let (token, grant) = (account.field("token"), account.field("grant"));
    let params = [("action", "disconnect"), ("token", &token), ("grant", &grant)];
    let done = browser.post(gateway, &account.action(), &params).await;
    stays_below(&done);
    let page = browser.get(gateway, done.location()).await;
    assert!(page.body.contains("No application is connected"), "{page:?}");
}

#[tokio::test]
async fn a_local_user_signs_in() {
    let gateway = below(config());
    let found = Found::by_a_call(&gateway).await;
    let mut browser = Browser::default();
    let begun = browser.get(&gateway, &found.authorize()).await;
    stays_below(&begun);
    let page = browser.get(&gateway, begun.location()).await;
    stays_below(&page);
    let wrong = browser.sign_in(&gateway, &page, "alice", "wrong").await;
    stays_below(&wrong);
    let signed_in = browser.sign_in(&gateway, &wrong, "alice", "alice").await;
    stays_below(&signed_in);
    let consent = browser.get(&gateway, signed_in.location()).await;
    stays_below(&consent);
    let answer = browser.get(&gateway, &consent.link("approve")).await;
    let tokens = found.goes_on(&gateway, &answer).await;
    let account = browser.arrive(&gateway, &consent.link("Your account"), "alice").await;
    disconnect(&gateway, &mut browser, &account).await;
    let refused = call(&gateway, Some(text(&tokens, "access_token"))).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{refused:?}");
    // In another browser, by the way in.
    let mut another = Browser::default();
    let outside = another.get(&gateway, "/t/x/account").await;
    stays_below(&outside);
    let account = another.arrive(&gateway, &outside.link("Sign in"), "alice").await;
    assert!(account.body.contains("Browsers that are signed in"), "{account:?}");
}

#[tokio::test]
async fn a_user_at_a_provider_signs_in() {
    let gateway = below(provider_config());
    let found = Found::by_a_call(&gateway).await;
    let mut browser = Browser::default();
    let consent = browser.get(&gateway, &found.authorize()).await;
    stays_below(&consent);
    let back = |asked: &Answer| format!("/t/x{}", return_path(asked));
    let asked = browser.get(&gateway, &consent.link("approve")).await;
    let cancelled = back(&asked).split("&code=").next().unwrap().to_owned() + "&error=access_denied";
    let again = browser.get(&gateway, &cancelled).await;
    stays_below(&again);
    let asked = browser.get(&gateway, &again.link("Try again")).await;
    gateway.provider.signs_in("42");
    let answer = browser.get(&gateway, &back(&asked)).await;
    let tokens = found.goes_on(&gateway, &answer).await;
    let params = refresh(&found.client, text(&tokens, "refresh_token"));
    let revoked = with(params, "token", Some(text(&tokens, "access_token")));
    assert_eq!(found.post(&gateway, "revocation_endpoint", &revoked).await.status, StatusCode::OK);
    assert_eq!(call(&gateway, Some(text(&tokens, "access_token"))).await.status, StatusCode::UNAUTHORIZED);

    let mut another = Browser::default();
    let outside = another.get(&gateway, "/t/x/account").await;
    let asked = another.get(&gateway, &outside.link("Continue with GitHub")).await;
    gateway.provider.signs_in("42");
    let signed_in = another.get(&gateway, &back(&asked)).await;
    stays_below(&signed_in);
    let account = another.get(&gateway, signed_in.location()).await;
    assert!(account.body.contains("Browsers that are signed in"), "{account:?}");
    stays_below(&account);
}

/// Clients ask for these in turn (MCP, "Authorization Server Metadata Discovery"): what is there is JSON, and so
/// is that the rest is not.
#[tokio::test]
async fn each_form_of_a_document_that_clients_ask_for_is_answered_as_json() {
    let gateway = below(config());
    for (path, served) in [
        ("/.well-known/oauth-authorization-server/t/x", true),
        ("/.well-known/oauth-protected-resource/t/x/mcp", true),
        ("/.well-known/oauth-protected-resource/t/x/mcp/", true),
        // No OpenID Connect is served: inserted, appended.
        ("/.well-known/openid-configuration/t/x", false),
        ("/t/x/.well-known/openid-configuration", false),
        ("/t/x/.well-known/oauth-authorization-server", false),
        ("/.well-known/oauth-authorization-server/t/x/mcp", false),
        ("/t/x/mcp/.well-known/openid-configuration", false),
        // The root is another server's.
        ("/.well-known/oauth-authorization-server", false),
        ("/.well-known/openid-configuration", false),
        ("/.well-known/oauth-protected-resource", false),
        ("/.well-known/oauth-protected-resource/t/x", false),
    ] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status == StatusCode::OK, served, "{path}: {answer:?}");
        assert!(answer.json().is_object(), "{path}");
        assert!(served || answer.is_error(404, "invalid_request"), "{path}: {answer:?}");
    }
}
