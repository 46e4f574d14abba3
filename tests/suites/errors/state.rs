//! 12: no step needs the process that did the one before.

use e2e::{
    browser::Browser,
    clients::{Sdk, Session},
    oauth::OAuthClient,
};

use crate::{Hub, Local};

#[tokio::test]
async fn e12_any_replica_may_die_between_any_two_steps() {
    let mut local = Local::start("accessToken: 1h", 2).await;
    let gateway = &mut local.gateway;
    let browser = Browser::of("alice");
    gateway.kill(1).await;
    let client = OAuthClient::register(&gateway.issuer).await;
    swap(gateway, 0, 1).await;
    let sign_in = browser.open(&client.authorize_url()).await;
    swap(gateway, 1, 0).await;
    let consent = browser.next(&sign_in).await.expect("the sign-in form");
    swap(gateway, 0, 1).await;
    let landed = browser.next(&consent).await.expect("the approval link");
    let code = landed.parameter("code").unwrap_or_else(|| panic!("{}\n{}", landed.url, landed.body));
    swap(gateway, 1, 0).await;
    let tokens = client.redeem(&code).await;
    assert_eq!(tokens.status, 200, "{}", tokens.text);
    swap(gateway, 0, 1).await;
    assert_eq!(client.whoami(Some(&tokens.get("access_token"))).await.status, 200);
    swap(gateway, 1, 0).await;
    let renewed = client.refresh(&tokens.get("refresh_token")).await;
    assert_eq!(renewed.status, 200, "{}", renewed.text);
    swap(gateway, 0, 1).await;
    assert_eq!(client.whoami(Some(&renewed.get("access_token"))).await.status, 200);
}

/// Starts one replica, kills the other: what follows meets a process that has seen nothing.
async fn swap(gateway: &mut e2e::dev::Gateway, dies: usize, lives: usize) {
    gateway.restart(lives).await;
    gateway.kill(dies).await;
}

#[tokio::test]
async fn e12_a_signed_in_client_of_github_survives_the_death_of_a_replica() {
    let mut hub = Hub::start(2).await;
    let mut alice = Session::connect(Sdk::TypeScript2, &hub.gateway.url, "alice").await;
    assert_eq!(alice.whoami().await, "alice");
    hub.gateway.kill(0).await;
    assert_eq!(alice.whoami().await, "alice");
    hub.gateway.restart(0).await;
    hub.gateway.kill(1).await;
    let answer = alice.call("whoami", serde_json::json!({})).await;
    assert_eq!((answer.text.as_str(), answer.sign_ins), ("alice", 1), "{answer:?}");
    alice.close().await;
}

/// What a client and its browser do one after the other until the client has its tokens.
const STEPS: [&str; 8] = [
    "GET /.well-known/oauth-protected-resource/mcp",
    "GET /.well-known/oauth-authorization-server",
    "POST /oauth/register",
    "GET /oauth/authorize",
    "GET /oauth/signin",
    "POST /oauth/signin",
    "GET /oauth/authorize/approve",
    "POST /oauth/token",
];

#[tokio::test]
async fn e12_a_real_client_signs_in_though_each_step_is_answered_by_another_process() {
    let mut local = Local::start("accessToken: 1h", 2).await;
    let gateway = &mut local.gateway;
    gateway.kill(1).await;
    let mut answers = gateway.balancer.as_ref().unwrap().hold(&STEPS);
    let (mut lives, mut seen) = (0, Vec::new());
    let url = gateway.url.clone();
    let mut client = std::pin::pin!(Session::connect(Sdk::TypeScript2, &url, "alice"));
    // Each answer goes on to the client when the process that gave it is dead, and one that knows nothing of it runs.
    let mut alice = loop {
        tokio::select! {
            alice = &mut client => break alice,
            Some(answer) = answers.recv() => {
                swap(gateway, lives, 1 - lives).await;
                lives = 1 - lives;
                seen.push(answer.what.clone());
                answer.go();
            }
        }
    };
    assert!(STEPS.iter().all(|step| seen.iter().any(|s| s == step)), "{seen:?}");
    let answer = alice.call("whoami", serde_json::json!({})).await;
    assert_eq!((answer.text.as_str(), answer.sign_ins), ("alice", 1), "{answer:?}");
    alice.close().await;
}
