//! Clients that the policy names: their secrets, addresses and grant types, and robots.

use base64::{Engine, engine::general_purpose::STANDARD};
use gatehouse_gateway::model::AccessToken;
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    Browser, CALLBACK, Client, Gateway, ODD_SECRET, authorization, authorize_path, config, provider_config,
    redeem, refresh, with,
};

/// A console with two live secrets, a command line without one, one whose Secret does not exist, and a robot.
pub(crate) fn listed() -> Value {
    json!([
        {"clientId": "ci-console", "name": "CI console", "redirectUris": ["https://ci.test/cb", "http://127.0.0.1:1/callback"],
         "secrets": [{"name": "ci", "key": "old"}, {"name": "ci", "key": "new"}]},
        {"clientId": "ci-cli", "redirectUris": ["http://127.0.0.1/callback"]},
        {"clientId": "broken", "redirectUris": ["http://127.0.0.1/callback"], "secrets": [{"name": "ci", "key": "none"}]},
        {"clientId": "odd", "redirectUris": ["http://127.0.0.1/callback"], "secrets": [{"name": "ci", "key": "odd"}]},
        {"clientId": "robot", "secrets": [{"name": "ci", "key": "new"}], "grants": ["client_credentials"]},
        {"clientId": "open-robot", "grants": ["client_credentials"]},
    ])
}

fn with_clients(mut config: Value) -> Gateway {
    config["policy"] = json!({"clients": listed(), "redirectUris": {"loopback": "Refused"}});
    Gateway::new(config)
}

fn client(id: &str, secret: Option<&str>) -> Client {
    Client { id: id.to_owned(), secret: secret.map(str::to_owned) }
}

pub(crate) fn robot<'a>(id: &'a str, secret: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)]
}

#[tokio::test]
async fn each_live_secret_proves_a_listed_client_by_either_method() {
    let gateway = with_clients(config());
    let console = client("ci-console", None);
    for secret in ["old-secret", "new-secret"] {
        let code = gateway.code(&mut Browser::default(), &console).await;
        let right = redeem(&console, &code);
        for wrong in ["", "old", "old-secre", "old-secret\n", "new-secret ", "none"] {
            let answer = gateway.token(&with(right.clone(), "client_secret", Some(wrong))).await;
            assert!(answer.is_error(401, "invalid_client"), "{wrong:?} {answer:?}");
        }
        assert!(gateway.token(&right).await.is_error(401, "invalid_client"));
        let answer = gateway.token(&with(right, "client_secret", Some(secret))).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let tokens = answer.json();
        let basic = format!("Basic {}", STANDARD.encode(format!("ci-console:{secret}")));
        let params = refresh(&console, tokens["refresh_token"].as_str().unwrap());
        let answer = gateway.token_with(&[("authorization", &basic)], &params).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

#[tokio::test]
async fn a_secret_of_any_characters_is_read_raw_and_encoded() {
    let gateway = with_clients(config());
    let odd = client("odd", None);
    let encoded: String = url::form_urlencoded::byte_serialize(ODD_SECRET.as_bytes()).collect();
    for secret in [ODD_SECRET, &encoded] {
        let code = gateway.code(&mut Browser::default(), &odd).await;
        let send = async |secret: &str| {
            let basic = format!("Basic {}", STANDARD.encode(format!("odd:{secret}")));
            gateway.token_with(&[("authorization", &basic)], &redeem(&odd, &code)).await
        };
        for wrong in ["a b/c===:x", "a+b/c%3D==", "a%2Bb/c%3D==:x"] {
            assert!(send(wrong).await.is_error(401, "invalid_client"), "{wrong}");
        }
        assert_eq!(send(secret).await.status, StatusCode::OK, "{secret}");
    }
    let code = gateway.code(&mut Browser::default(), &odd).await;
    let posted = with(redeem(&odd, &code), "client_secret", Some(ODD_SECRET));
    assert_eq!(gateway.token(&posted).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_listed_client_without_secrets_is_public_and_one_whose_secret_is_missing_is_refused() {
    let gateway = with_clients(config());
    let cli = client("ci-cli", None);
    let code = gateway.code(&mut Browser::default(), &cli).await;
    let secret = gateway.token(&with(redeem(&cli, &code), "client_secret", Some("new-secret"))).await;
    assert!(secret.is_error(401, "invalid_client"));
    assert_eq!(gateway.token(&redeem(&cli, &code)).await.status, StatusCode::OK);
    let broken = client("broken", None);
    let code = gateway.code(&mut Browser::default(), &broken).await;
    for secret in [None, Some(""), Some("none")] {
        let answer = gateway.token(&with(redeem(&broken, &code), "client_secret", secret)).await;
        assert!(answer.is_error(401, "invalid_client"), "{secret:?}");
    }
}

#[tokio::test]
async fn a_listed_clients_addresses_are_exact_and_need_no_other_permission() {
    let gateway = with_clients(config());
    let console = client("ci-console", None);
    // Loopback is refused to others, who have not been named with theirs.
    for (uri, allowed) in [
        ("https://ci.test/cb", true),
        (CALLBACK, true),
        ("https://ci.test/cb/", false),
        ("https://ci.test/cb?x", false),
        ("http://localhost:1/callback", false),
    ] {
        let asked = with(authorization(&console), "redirect_uri", Some(uri));
        let page = gateway.get(&authorize_path(&asked)).await;
        assert_eq!(page.status == StatusCode::SEE_OTHER, allowed, "{uri} {page:?}");
        assert!(allowed || page.is_page(400), "{uri} {page:?}");
    }
    let page = Browser::default().consent(&gateway, &console, "alice").await;
    assert!(page.body.contains("CI console"), "{}", page.body);
    let stranger = client("ci-consol", None);
    assert!(gateway.get(&authorize_path(&authorization(&stranger))).await.is_page(400));
}

#[tokio::test]
async fn a_robot_gets_an_access_token_alone() {
    let gateway = with_clients(provider_config());
    let answer = gateway.token(&robot("robot", "new-secret")).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    assert_eq!(gateway.trail.decisions(), ["token issued"]);
    let json = answer.json();
    let mut members: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"]);
    assert_eq!((&json["scope"], &json["expires_in"]), (&json!("mcp"), &json!(3600)));
    let hash = AccessToken::hash_presented(json["access_token"].as_str().unwrap());
    let call = gateway.server.store.call(&hash).await.unwrap().unwrap();
    assert_eq!((call.grant.client_id.as_str(), call.grant.identity.as_str()), ("robot", "client"));
    let revoked = [("client_id", "robot"), ("client_secret", "new-secret")];
    let token = json["access_token"].as_str().unwrap();
    assert!(gateway.accepts(token).await);
    let params = with(revoked.to_vec(), "token", Some(token));
    assert_eq!(gateway.revoke(&params).await.status, StatusCode::OK);
    assert!(!gateway.accepts(token).await);
}

#[tokio::test]
async fn only_a_proven_robot_is_one() {
    let gateway = with_clients(config());
    let public = gateway.token(&with(robot("open-robot", ""), "client_secret", None)).await;
    assert!(public.is_error(400, "unauthorized_client"), "{public:?}");
    for (id, secret) in [("robot", "wrong"), ("robot", ""), ("robot", "old-secret"), ("nobody", "new-secret")]
    {
        assert!(gateway.token(&robot(id, secret)).await.is_error(401, "invalid_client"), "{id} {secret}");
    }
    let console = gateway.token(&robot("ci-console", "new-secret")).await;
    assert!(console.is_error(400, "unauthorized_client"), "{console:?}");
    for grant in ["authorization_code", "refresh_token"] {
        let answer = gateway.token(&with(robot("robot", "new-secret"), "grant_type", Some(grant))).await;
        assert!(answer.is_error(400, "unauthorized_client"), "{grant} {answer:?}");
    }
    let scope = with(robot("robot", "new-secret"), "scope", Some("admin"));
    assert!(gateway.token(&scope).await.is_error(400, "invalid_scope"));
    let elsewhere = with(robot("robot", "new-secret"), "resource", Some("https://other.test/mcp"));
    assert!(gateway.token(&elsewhere).await.is_error(400, "invalid_target"));
    assert!(gateway.get(&authorize_path(&authorization(&client("robot", None)))).await.is_page(400));
}

#[tokio::test]
async fn access_decides_about_a_robot_by_its_client_id() {
    for (access, allowed) in [
        (json!({"allow": {"rules": [{"subjects": ["robot"]}]}}), true),
        (json!({"allow": {"rules": [{"subjects": ["42"]}]}}), false),
        (json!({"allow": {"rules": [{"groups": ["acme"]}]}}), false),
        (json!({"allow": "everyone", "deny": [{"subjects": ["robot"]}]}), false),
    ] {
        let mut config = provider_config();
        config["access"] = access.clone();
        let answer = with_clients(config).token(&robot("robot", "new-secret")).await;
        assert_eq!(answer.status == StatusCode::OK, allowed, "{access} {answer:?}");
        assert!(allowed || answer.is_error(400, "unauthorized_client"), "{access} {answer:?}");
    }
}

#[tokio::test]
async fn robots_are_in_the_metadata_where_there_are_any() {
    let grants = async |gateway: Gateway| {
        gateway.get("/.well-known/oauth-authorization-server").await.json()["grant_types_supported"].clone()
    };
    let with_robots = json!(["authorization_code", "refresh_token", "client_credentials"]);
    assert_eq!(grants(with_clients(config())).await, with_robots);
    assert_eq!(grants(Gateway::local()).await, json!(["authorization_code", "refresh_token"]));
}
