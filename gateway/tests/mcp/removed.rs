//! `identity.local`: a user who leaves the file is refused with the next call, also where the caller is remembered.

use gatehouse_gateway::metrics::CacheLabels;
use gatehouse_gateway_config::{KeyRef, users::DECOY};
use http::Method;
use serde_json::json;

use super::kit::{Kit, until};

/// A gateway whose users are these.
async fn with_users(uids: &[&str]) -> Kit {
    let kit = Kit::with(|server| {
        server["identity"] = json!({"local": {"users": {"name": "users", "key": "users.yaml"}}});
    })
    .await;
    write_users(&kit, uids);
    kit
}

fn write_users(kit: &Kit, uids: &[&str]) {
    let user =
        |uid: &&str| json!({"name": format!("user-{uid}"), "uid": uid, "passwordHash": DECOY, "token": "t"});
    let file = json!(uids.iter().map(user).collect::<Vec<_>>());
    kit.refs.set(KeyRef::secret("users", "users.yaml"), file.to_string());
}

#[tokio::test]
async fn the_next_call_of_a_removed_user_is_refused() {
    let kit = with_users(&["1", "2"]).await;
    let (alice, bob) = (kit.sign_in("1").await, kit.sign_in("2").await);
    let hits = || kit.gateway.metrics.token_cache.get_or_create(&CacheLabels { result: "hit" }).get();
    until(async || {
        assert_eq!(kit.call(&alice).await.status, 200);
        hits() > 2
    })
    .await;
    write_users(&kit, &["2"]);
    assert_eq!(kit.send(Method::GET, &alice, &[]).await.status, 401);
    let seen = kit.backend.seen().len();
    let told = kit.call(&alice).await;
    assert_eq!(told.json()["result"]["isError"], json!(true), "{told:?}");
    assert_eq!(kit.call(&alice).await.status, 401);
    assert_eq!(kit.backend.seen().len(), seen, "none of these reached the backend");
    assert_eq!(kit.call(&bob).await.status, 200);

    write_users(&kit, &["1", "2"]);
    kit.gateway
        .server
        .store
        .set_identity_state(&kit.user("1"), &gatehouse_gateway::model::IdentityState::Live)
        .await
        .unwrap();
    until(async || kit.call(&alice).await.status == 200).await;
}
