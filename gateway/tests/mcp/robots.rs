//! Robots and registrations on the MCP path: what the policy no longer names is refused with the next look-up.

use std::{sync::Arc, time::Duration};

use gatehouse_gateway_config::KeyRef;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    backend::answer,
    kit::{Kit, LIFE, read, until},
};

/// A gateway with a robot, whose backend gets a shared credential alone.
async fn with_robot(identity: Option<Value>, access: Value) -> Kit {
    Kit::with(|server| {
        if let Some(identity) = identity {
            server["identity"] = identity;
        }
        server["access"] = access;
        server["backends"][0]["inject"].as_array_mut().unwrap().remove(0);
        server["policy"] = json!({"clients": [
            {"clientId": "robot", "grants": ["client_credentials"], "secrets": [{"name": "api", "key": "key"}]},
        ]});
    })
    .await
}

async fn robot_token(kit: &Kit) -> String {
    let url = kit.gateway.server.urls.endpoint("/oauth/token");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = "grant_type=client_credentials&client_id=robot&client_secret=shared-key";
    let answer = read(kit.open(Method::POST, &url, &form, body).await).await;
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_robot_calls_with_the_shared_credential() {
    let local = json!({"local": {"users": {"name": "users", "key": "users.yaml"}}});
    for identity in [None, Some(local)] {
        let kit = with_robot(identity, json!({"allow": {"rules": [{"subjects": ["robot"]}]}})).await;
        kit.refs.set(KeyRef::secret("users", "users.yaml"), "[]".to_owned());
        let token = robot_token(&kit).await;
        for _ in 0..3 {
            assert_eq!(kit.call(&token).await.status, 200);
        }
        let seen = kit.backend.seen();
        let headers = &seen.last().unwrap().headers;
        assert_eq!(headers["x-api-key"], "shared-key");
        assert!(!headers.contains_key("authorization"));
        // The users of the file are not all that there are.
        let server = &kit.gateway.server;
        if let gatehouse_gateway::server::Identity::Local(users) = &server.identity {
            gatehouse_gateway::identity::local::sweep::sweep(server, users).await.unwrap();
        }
        assert_eq!(kit.call(&token).await.status, 200);
    }
}

/// Its grant ends with its token, and what it asked for in time is answered as a user's is.
#[tokio::test]
async fn a_robots_answer_may_outlive_its_token() {
    let kit = with_robot(None, json!({"allow": {"rules": [{"subjects": ["robot"]}]}})).await;
    let token = robot_token(&kit).await;
    let go = Arc::new(Notify::new());
    let waits = go.clone();
    kit.backend.answer_with(move |seen| {
        let (go, result) = (waits.clone(), json!({"jsonrpc": "2.0", "id": seen.id(), "result": {}}));
        Box::pin(async move {
            go.notified().await;
            answer(200, "text/event-stream", format!("data: {result}\n\n")).await
        })
    });
    let outlives = async {
        until(async || kit.gateway.metrics.open_streams.get() == 1).await;
        kit.clock.advance(LIFE + Duration::from_secs(100));
        go.notify_one();
    };
    let (answered, ()) = tokio::join!(kit.call(&token), outlives);
    assert_eq!(answered.status, 200, "{answered:?}");
    assert!(answered.text.contains("\"result\":{}"), "{answered:?}");
}

#[tokio::test]
async fn tokens_of_a_client_that_may_not_come_any_more_are_refused() {
    let kit = Kit::with(|server| {
        server["policy"] = json!({"registration": {"lifetime": "8760h", "notBefore": 1_800_000_001}});
    })
    .await;
    let revoked = kit.sign_in("1").await;
    let gone = kit.sign_in_as("2", |grant| grant.client_id = "not-in-the-policy".to_owned()).await;
    for token in [revoked, gone] {
        assert_eq!(kit.call(&token).await.status, 401);
    }
    assert!(kit.backend.seen().is_empty());
}
