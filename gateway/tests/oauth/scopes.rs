//! Scopes at the authorization server: what is offered, asked for, consented to, granted and kept.

use serde_json::{Value, json};

use crate::support::{
    Browser, Client, Gateway, authorization, authorize_path, config, provider_config, redeem, refresh, with,
};

fn scoped() -> Value {
    let mut config = config();
    config["scopes"] = json!([
        {"name": "read", "description": "See things", "default": true},
        {"name": "write", "description": "Change things", "includes": ["read"],
            "allow": [{"subjects": ["nobody"]}]},
        {"name": "export", "includes": ["read"]},
        {"name": "admin", "allow": [{"subjects": ["nobody"]}]},
    ]);
    config["backends"][0]["tools"] = json!({"scopes": [{"tools": ["create_*"], "scopes": ["write"]}]});
    config
}

/// Signs alice in with this scope and returns the token answer.
async fn tokens(gateway: &Gateway, client: &Client, scope: Option<&str>) -> Value {
    let mut browser = Browser::default();
    let asked = with(authorization(client), "scope", scope);
    let consent = browser.consent_to(gateway, &asked, "alice").await;
    let done = browser.get(gateway, &consent.link("approve")).await;
    let code = done.redirect_param("code").unwrap();
    gateway.token(&redeem(client, &code)).await.json()
}

#[tokio::test]
async fn the_documents_offer_all_and_begin_with_the_defaults() {
    let gateway = Gateway::new(scoped());
    let server = gateway.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(server["scopes_supported"], json!(["read", "write", "export", "admin", "offline_access"]));
    let resource = gateway.get("/.well-known/oauth-protected-resource").await.json();
    assert_eq!(resource["scopes_supported"], json!(["read"]));
}

#[tokio::test]
async fn a_client_is_granted_what_there_is_and_what_its_user_may_have() {
    let gateway = Gateway::new(scoped());
    let client = gateway.public_client().await;
    for (asked, granted) in [
        (None, "read"),
        (Some("offline_access"), "read"),
        (Some("read unknown"), "read"),
        (Some("read write"), "read"),
        (Some("export"), "read export"),
    ] {
        assert_eq!(tokens(&gateway, &client, asked).await["scope"], granted, "{asked:?}");
    }
}

#[tokio::test]
async fn a_user_who_may_have_nothing_of_it_is_told_and_no_code_is_made() {
    let gateway = Gateway::new(scoped());
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    browser.consent(&gateway, &client, "alice").await;
    gateway.trail.take();
    let asked = authorize_path(&with(authorization(&client), "scope", Some("admin")));
    // There is nothing to consent to.
    let told = browser.get(&gateway, &asked).await;
    assert!(told.is_page(403) && told.body.contains("alice"), "{told:?}");
    assert_eq!(gateway.trail.decisions(), ["access denied"]);
}

#[tokio::test]
async fn a_policy_keeps_scopes_from_clients() {
    let mut config = scoped();
    config["policy"] = json!({"scopes": ["read"]});
    let gateway = Gateway::new(config);
    let client = gateway.public_client().await;
    assert_eq!(tokens(&gateway, &client, Some("read export")).await["scope"], "read");
    let path = authorize_path(&with(authorization(&client), "scope", Some("export")));
    let refused = Browser::default().get(&gateway, &path).await;
    assert_eq!(refused.redirect_param("error").as_deref(), Some("invalid_scope"));
}

/// As [`scoped`], with a client and a robot of the policy's own that are bound to these scopes.
fn bound(scopes: &[&str]) -> Value {
    let mut config = scoped();
    config["policy"] = json!({"clients": [
        {"clientId": "ci-cli", "redirectUris": ["http://127.0.0.1/callback"], "scopes": scopes},
        {"clientId": "robot", "secrets": [{"name": "ci", "key": "new"}], "grants": ["client_credentials"],
            "scopes": scopes},
    ]});
    config
}

#[tokio::test]
async fn a_listed_client_is_granted_no_more_than_its_scopes() {
    let gateway = Gateway::new(bound(&["export"]));
    let client = Client { id: "ci-cli".to_owned(), secret: None };
    assert_eq!(tokens(&gateway, &client, Some("read export")).await["scope"], "export");
    assert_eq!(tokens(&gateway, &client, None).await["scope"], "export", "it may have none of the defaults");
    let path = authorize_path(&with(authorization(&client), "scope", Some("read")));
    let refused = Browser::default().get(&gateway, &path).await;
    assert_eq!(refused.redirect_param("error").as_deref(), Some("invalid_scope"));

    let robot =
        [("grant_type", "client_credentials"), ("client_id", "robot"), ("client_secret", "new-secret")];
    let granted = gateway.token(&with(robot.to_vec(), "scope", Some("read export"))).await.json();
    assert_eq!(granted["scope"], "export");
    assert!(gateway.token(&with(robot.to_vec(), "scope", Some("read"))).await.is_error(400, "invalid_scope"));
}

#[tokio::test]
async fn a_client_that_is_bound_later_keeps_no_more_by_its_refresh_token() {
    let gateway = Gateway::new(bound(&["read", "export"]));
    let client = Client { id: "ci-cli".to_owned(), secret: None };
    let first = tokens(&gateway, &client, Some("read export")).await;
    assert_eq!(first["scope"], "read export");
    let later = gateway.reconfigured(bound(&["read"]));
    let next = later.token(&refresh(&client, first["refresh_token"].as_str().unwrap())).await.json();
    assert_eq!(next["scope"], "read");
}

#[tokio::test]
async fn a_client_that_is_bound_to_other_scopes_loses_no_refresh_token_by_it() {
    let graceless = |scopes| {
        let mut config = bound(scopes);
        config["policy"]["lifetimes"] = json!({
            "authorizationCode": "10m", "accessToken": "1h", "refreshToken": "720h", "refreshGrace": "0s",
            "signIn": "8760h",
        });
        config
    };
    let gateway = Gateway::new(graceless(&["read"]));
    let client = Client { id: "ci-cli".to_owned(), secret: None };
    let first = tokens(&gateway, &client, Some("read")).await;
    let presented = refresh(&client, first["refresh_token"].as_str().unwrap());
    let refused = gateway.reconfigured(graceless(&["export"])).token(&presented).await;
    assert!(refused.is_error(400, "invalid_grant"), "{refused:?}");
    assert_eq!(gateway.token(&presented).await.json()["scope"], "read");
}

#[tokio::test]
async fn the_consent_page_says_what_each_scope_is_for() {
    let gateway = Gateway::new(scoped());
    let client = gateway.public_client().await;
    let asked = with(authorization(&client), "scope", Some("write export"));
    let page = Browser::default().consent_to(&gateway, &asked, "alice").await;
    // Nobody may be granted `write`; what it includes is for everyone.
    assert!(!page.body.contains("Change things") && page.body.contains("See things"), "{page:?}");
    // No tool is kept for `export`, but some are for `write`, which is not granted.
    let all_but = "Every tool but those that need a permission which is not in this list.";
    assert!(page.body.contains(all_but) && !page.body.contains("Everything"), "{page:?}");
    assert!(!page.body.contains("If your account may."), "{page:?}");

    // At a provider nobody knows yet whose account it will be.
    let mut elsewhere = provider_config();
    for part in ["scopes", "backends"] {
        elsewhere[part] = scoped()[part].clone();
    }
    let gateway = Gateway::new(elsewhere);
    let client = gateway.public_client().await;
    let asked = with(authorization(&client), "scope", Some("write"));
    let page = gateway.get(&authorize_path(&asked)).await;
    let writes = page.body.split("Change things").nth(1).unwrap();
    assert!(writes.starts_with("<small>If your account may.</small>"), "{page:?}");
    assert_eq!(page.body.matches("If your account may.").count(), 1);
}

#[tokio::test]
async fn a_refresh_that_asks_for_less_gets_no_wider_successor() {
    let gateway = Gateway::new(scoped());
    let client = gateway.public_client().await;
    let first = tokens(&gateway, &client, Some("read export")).await;
    let presented = refresh(&client, first["refresh_token"].as_str().unwrap());
    let asked = |scope| with(presented.clone(), "scope", Some(scope));
    let next = gateway.token(&presented).await.json();
    assert_eq!(next["scope"], "read export");
    for scope in ["read", "export"] {
        let refused = gateway.token(&asked(scope)).await;
        assert!(refused.is_error(400, "invalid_scope"), "{scope}: {refused:?}");
        assert!(refused.body.contains("replaced by tokens of a wider scope"), "{refused:?}");
    }
    for scope in ["", "read export", "export read offline_access"] {
        assert_eq!(gateway.token(&asked(scope)).await.json()["refresh_token"], next["refresh_token"]);
    }
    // Where the successor has no more than that, it is the answer; and less than was asked for is said.
    let presented = refresh(&client, next["refresh_token"].as_str().unwrap());
    let asked = |scope| with(presented.clone(), "scope", Some(scope));
    let less = gateway.token(&asked("read")).await.json();
    for params in [asked("read"), asked("read export"), presented.clone()] {
        let again = gateway.token(&params).await.json();
        assert_eq!((&again["refresh_token"], &again["scope"]), (&less["refresh_token"], &json!("read")));
    }
    assert!(gateway.token(&asked("export")).await.is_error(400, "invalid_scope"));
}

#[tokio::test]
async fn a_refresh_that_asks_for_what_may_not_be_granted_any_more_gets_no_successor() {
    let gateway = Gateway::new(scoped());
    let client = gateway.public_client().await;
    let first = tokens(&gateway, &client, Some("read export")).await;
    let presented = refresh(&client, first["refresh_token"].as_str().unwrap());
    let next = gateway.token(&presented).await.json();
    let mut later = scoped();
    later["scopes"][2]["allow"] = json!([{"subjects": ["nobody"]}]);
    let later = gateway.reconfigured(later);
    let refused = later.token(&with(presented.clone(), "scope", Some("export"))).await;
    assert!(refused.is_error(400, "invalid_grant"), "{refused:?}");
    assert!(refused.body.contains("may not be granted any more"), "{refused:?}");
    let again = later.token(&with(presented, "scope", Some("read"))).await.json();
    assert_eq!((&again["refresh_token"], &again["scope"]), (&next["refresh_token"], &json!("read")));
}

#[tokio::test]
async fn a_refresh_shrinks_and_never_grows() {
    let gateway = Gateway::new(scoped());
    let client = gateway.public_client().await;
    let first = tokens(&gateway, &client, Some("export")).await;
    let token = first["refresh_token"].as_str().unwrap();
    let unknown = with(refresh(&client, token), "scope", Some("read unknown"));
    assert!(gateway.token(&unknown).await.is_error(400, "invalid_scope"));
    let less = gateway.token(&with(refresh(&client, token), "scope", Some("read write"))).await.json();
    assert_eq!(less["scope"], "read");
    assert!(gateway.accepts(less["access_token"].as_str().unwrap()).await);
    let again = refresh(&client, less["refresh_token"].as_str().unwrap());
    assert_eq!(gateway.token(&again).await.json()["scope"], "read export", "the grant is as it was");
}
