//! Attacks 58 to 65: the return from the identity provider.

use gatehouse_gateway::{
    identity::IdentityError,
    model::{Unknown, flow_state::ATTEMPTS},
    store::keys::GRANTS_KEPT,
};
use http::StatusCode;
use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    chaos::{Chaos, Mode},
    redis_server::RedisServer,
    support::{
        Answer, Browser, CALLBACK, Client, Gateway, authorization, authorize_path, provider_config, redeem,
    },
};

/// Approves and stands at the provider; what it was asked, and the path by which the browser returns.
pub(crate) async fn at_provider(
    gateway: &Gateway,
    browser: &mut Browser,
    client: &Client,
) -> (Answer, String) {
    let page = browser.get(gateway, &authorize_path(&authorization(client))).await;
    let asked = browser.get(gateway, &page.link("approve")).await;
    let path = return_path(&asked);
    (asked, path)
}

pub(crate) fn return_path(asked: &Answer) -> String {
    let state = asked.redirect_param("state").unwrap();
    let challenge = asked.redirect_param("code_challenge").unwrap();
    format!("/oauth/callback?state={state}&code=upstream-code.{challenge}")
}

#[tokio::test]
async fn a_sign_in_at_the_provider_ends_with_tokens() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    gateway.provider.signs_in("42");
    let answer = browser.get(&gateway, &path).await;
    assert!(answer.location().starts_with(CALLBACK));
    assert_eq!(answer.redirect_param("state").as_deref(), Some("xyz"));
    assert_eq!(answer.redirect_param("iss").as_deref(), Some("https://gw.test"));
    let code = answer.redirect_param("code").unwrap();
    // Reloading before the client redeems gives the same, and sends no code to the provider again.
    assert_eq!(browser.get(&gateway, &path).await.location(), answer.location());
    let tokens = gateway.token(&redeem(&client, &code)).await.json();
    assert!(gateway.accepts(tokens["access_token"].as_str().unwrap()).await);
    assert!(!tokens.to_string().contains("upstream-42"));
    assert!(browser.get(&gateway, &path).await.is_page(200));
    assert_eq!(gateway.provider.exchanged.lock().unwrap().len(), 1);
}

/// It may go on for longer than a request may, and the code is spent by then: reloading would help nobody.
#[tokio::test]
async fn a_provider_that_takes_too_long_is_told_of_with_a_way_on() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    let held = gateway.provider.held.write().await;
    let told = browser.get(&gateway, &path).await;
    assert!(told.body.contains("cannot be reached at this moment"), "{told:?}");
    drop(held);
    let asked = browser.get(&gateway, &told.link("Try again")).await;
    gateway.provider.signs_in("42");
    assert!(browser.get(&gateway, &return_path(&asked)).await.redirect_param("code").is_some());
}

#[tokio::test]
async fn an_unknown_state_reaches_no_provider() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    let other = Gateway::seeded(provider_config(), 2);
    for bad in [
        "/oauth/callback",
        "/oauth/callback?code=x",
        "/oauth/callback?code=x&state=",
        "/oauth/callback?code=x&state=AAAA",
    ] {
        assert!(browser.get(&gateway, bad).await.is_page(400), "{bad}");
    }
    let twice = format!("{path}&code=y");
    assert!(browser.get(&gateway, &twice).await.is_page(400));
    assert!(browser.get(&other, &path).await.is_page(400));
    assert!(gateway.provider.exchanged.lock().unwrap().is_empty());
}

#[tokio::test]
async fn another_browser_finishes_nothing() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let (mut attacker, mut victim) = (Browser::default(), Browser::default());
    let (_, path) = at_provider(&gateway, &mut attacker, &client).await;
    assert!(victim.get(&gateway, &path).await.is_page(403));
    at_provider(&gateway, &mut victim, &client).await;
    assert!(victim.get(&gateway, &path).await.is_page(403));
    assert!(gateway.provider.exchanged.lock().unwrap().is_empty());
    gateway.provider.signs_in("1");
    assert_eq!(attacker.get(&gateway, &path).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_callback_before_approval_is_refused() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let page = browser.get(&gateway, &authorize_path(&authorization(&client))).await;
    let link = page.link("approve");
    let flow = link.split("flow=").nth(1).unwrap().split('&').next().unwrap();
    let flow = gatehouse_gateway::model::FlowId::parse(flow).unwrap();
    let attempt = gatehouse_gateway::oauth::upstream::Attempt::derive(&gateway.server.keys, flow, 1).unwrap();
    let path = format!("/oauth/callback?state={}&code=x", attempt.state);
    assert!(browser.get(&gateway, &path).await.is_page(400));
}

#[tokio::test]
async fn a_failed_sign_in_can_be_tried_again() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let (asked, path) = at_provider(&gateway, &mut browser, &client).await;
    gateway.provider.fails(IdentityError::Unavailable("500 <b>secret detail</b>".to_owned()));
    let page = browser.get(&gateway, &path).await;
    assert!(page.is_page(502) && !page.body.contains("secret detail"), "{page:?}");
    assert!(page.link("Give up and return to Claude Code").contains("error=server_error"));
    // The used code is not sent again.
    let again = browser.get(&gateway, &path).await;
    assert!(again.is_page(400) && again.body.contains("used before"), "{again:?}");
    let link = page.link("Try again");
    let second = browser.get(&gateway, &link).await;
    assert_ne!(second.redirect_param("state"), asked.redirect_param("state"));
    // Following the link twice starts one attempt.
    assert_eq!(browser.get(&gateway, &link).await.location(), second.location());
    gateway.provider.signs_in("1");
    assert!(browser.get(&gateway, &return_path(&second)).await.redirect_param("code").is_some());
    assert_eq!(gateway.provider.exchanged.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn the_last_attempt_leads_back_to_the_application() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let (_, mut path) = at_provider(&gateway, &mut browser, &client).await;
    for attempt in 2..=ATTEMPTS {
        gateway.provider.fails(IdentityError::Refused("x".to_owned()));
        let again = browser.get(&gateway, &path).await.link("Try again");
        assert!(again.contains(&format!("attempt={attempt}")), "{again}");
        path = return_path(&browser.get(&gateway, &again).await);
        let beyond = again.replace(&format!("attempt={attempt}"), &format!("attempt={}", ATTEMPTS + 1));
        if attempt == ATTEMPTS {
            let refused = browser.get(&gateway, &beyond).await;
            assert!(refused.is_page(400) && refused.body.contains("Start again"), "{refused:?}");
        }
    }
    gateway.provider.fails(IdentityError::Refused("x".to_owned()));
    for _ in 0..2 {
        let last = browser.get(&gateway, &path).await;
        assert!(last.is_page(400) && last.body.contains("Start again from your application"), "{last:?}");
        assert!(!last.body.contains("Try again") && !last.body.contains("attempt="), "{}", last.body);
        assert!(last.link("Give up and return to Claude Code").contains("error=server_error"));
    }
    assert_eq!(gateway.provider.exchanged.lock().unwrap().len(), 5);
}

/// The provider's own failures are outages; what the browser may have brought by itself is not.
#[tokio::test]
async fn only_the_providers_own_failures_are_server_errors() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    for (error, status) in [
        (IdentityError::Refused("x".to_owned()), 400),
        (IdentityError::Foreign("x".to_owned()), 400),
        (IdentityError::Invalid("x".to_owned()), 502),
        (IdentityError::Misconfigured("x".to_owned()), 502),
    ] {
        let mut browser = Browser::default();
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        gateway.provider.fails(error.clone());
        let page = browser.get(&gateway, &path).await;
        assert!(page.is_page(status) && !page.link("Try again").is_empty(), "{error}: {page:?}");
    }
}

#[tokio::test]
async fn what_the_provider_says_is_not_repeated() {
    let gateway = Gateway::with_provider();
    let client = gateway.public_client().await;
    for (error, told) in [
        ("access_denied", "access_denied"),
        ("evil%20code", "server_error"),
        ("temporarily_unavailable", "server_error"),
    ] {
        let mut browser = Browser::default();
        let (asked, _) = at_provider(&gateway, &mut browser, &client).await;
        let state = asked.redirect_param("state").unwrap();
        let path =
            format!("/oauth/callback?state={state}&error={error}&error_description=%3Cb%3ECall%20us%3C/b%3E");
        let page = browser.get(&gateway, &path).await;
        assert!(page.is_page(400), "{page:?}");
        assert!(!page.body.contains("Call us") && !page.body.contains("evil"), "{}", page.body);
        let give_up = page.link("Give up and return to Claude Code");
        assert!(give_up.starts_with(CALLBACK) && give_up.contains(&format!("error={told}")), "{give_up}");
    }
    assert!(gateway.provider.exchanged.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_user_who_is_not_allowed_gets_no_code() {
    let rules = json!({"allow": {"rules": [{"subjects": ["7"]}]}});
    let gateway = Gateway::edited(provider_config(), "access", rules);
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    gateway.provider.signs_in("8");
    let page = browser.get(&gateway, &path).await;
    assert!(page.is_page(403) && page.body.contains("User 8"), "{page:?}");
    assert!(page.link("Return to Claude Code").contains("error=access_denied"));
    let other = browser.get(&gateway, &page.link("Use another account")).await;
    assert_eq!(other.redirect_param("prompt").as_deref(), Some("select_account"));
    gateway.provider.signs_in("7");
    assert!(browser.get(&gateway, &return_path(&other)).await.redirect_param("code").is_some());
}

/// Removing `read:org` from the address of the provider's page must not open what `access.deny` closes.
#[tokio::test]
async fn a_user_who_hides_what_access_asks_for_reads_which_permission_is_missing() {
    let deny = json!({"allow": "everyone", "deny": [{"groups": ["acme/contractors"]}]});
    let allow = json!({"allow": {"rules": [{"groups": ["acme/staff"]}]}});
    for access in [deny.clone(), allow] {
        let mut config = provider_config();
        config["access"] = access;
        let gateway = Gateway::new(config);
        let client = gateway.public_client().await;
        let mut browser = Browser::default();
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        gateway.provider.signs_in_as("42", Unknown { groups: true, email: false });
        let refused = browser.get(&gateway, &path).await;
        assert!(refused.is_page(403), "{refused:?}");
        for text in ["lets people in by their groups", "read:org", "Sign in again"] {
            assert!(refused.body.contains(text), "{text} is missing in {}", refused.body);
        }
        assert!(gateway.server.store.users().await.unwrap().is_empty());
    }
    // A part that no rule asks about may stay hidden.
    let mut config = provider_config();
    config["access"] = deny;
    let gateway = Gateway::new(config);
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    let (_, path) = at_provider(&gateway, &mut browser, &client).await;
    gateway.provider.signs_in_as("42", Unknown { groups: false, email: true });
    assert!(browser.get(&gateway, &path).await.location().starts_with(CALLBACK));
}

/// Replicas go away between the provider's answer and the end of the sign-in, which nobody does again: what it made and
/// what it ended is told, and the browser gets its code when it asks once more.
#[tokio::test]
async fn a_sign_in_that_is_not_acknowledged_is_told_and_not_done_again() {
    let Some(redis) = RedisServer::start().await else { return };
    let way = Chaos::before(redis.socket.clone()).await;
    let gateway = Gateway::on_redis(provider_config(), &redis.url()).await;
    let client = gateway.public_client().await;
    let mut browser = Browser::default();
    for _ in 0..GRANTS_KEPT {
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        gateway.provider.signs_in("42");
        assert!(browser.get(&gateway, &path).await.redirect_param("code").is_some());
    }
    gateway.trail.take();
    let _replica = redis.replica(way.port).await;
    let strict = Gateway::unacknowledged(provider_config(), &redis.url()).await;
    // A machine that is busy may take longer than the gateway waits for the claim of the answer: then another is tried.
    for _ in 0..50 {
        let (_, path) = at_provider(&gateway, &mut browser, &client).await;
        let (go, waits) = oneshot::channel();
        *strict.provider.waits.lock().unwrap() = Some(waits);
        strict.provider.signs_in("42");
        let leave = async {
            while strict.provider.exchanged.lock().unwrap().is_empty() {
                gateway.server.store.ping().await.unwrap();
            }
            way.set(Mode::Stall);
            go.send(()).unwrap();
            std::future::pending::<Answer>().await
        };
        let answer = tokio::select! {
            answer = browser.get(&strict, &path) => answer,
            never = leave => never,
        };
        assert!(answer.is_page(503) && !answer.header("retry-after").is_empty(), "{answer:?}");
        let told = strict.trail.decisions();
        if strict.provider.exchanged.lock().unwrap().is_empty() {
            strict.provider.answers.lock().unwrap().clear();
            continue;
        }
        let expected = [
            "sign_in signed_in",
            "code issued",
            "grant revoked too_many",
            "code refused temporarily_unavailable",
        ];
        assert_eq!(told, expected);
        way.set(Mode::Pass);
        gateway.trail.take();
        let again = browser.get(&gateway, &path).await;
        assert_eq!(gateway.trail.decisions(), Vec::<String>::new());
        let code = again.redirect_param("code").unwrap();
        return assert_eq!(gateway.token(&redeem(&client, &code)).await.status, StatusCode::OK);
    }
    panic!("no claim of fifty was acknowledged");
}
