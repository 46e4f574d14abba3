//! `access.deny`, edited while a gateway runs: told through the store, as the operator does.

use gatehouse_gateway_config::{AccessRule, denial::Denial};
use serde_json::json;

use super::{
    kit::{Kit, keyring, next},
    redis_server::RedisServer,
    streams::{PROGRESS, listen},
};

fn denial(generation: i64, subject: &str) -> Denial {
    let rule = AccessRule { subjects: vec![subject.to_owned()], ..AccessRule::default() };
    Denial { generation, rules: vec![rule] }
}

#[tokio::test]
async fn the_streams_of_who_is_denied_end_whoever_heard_of_it_first() {
    let Some(redis) = RedisServer::start().await else { return };
    let admin = redis.admin().await;
    let kit = Kit::with_parts(|_| {}, json!({ "redis": { "url": redis.url() } })).await;
    let prefix = format!("gatehouse:{{team-a/tools.{}}}:", kit.gateway.server.keys.instance());
    let (alice, bob, carol) = (kit.sign_in("1").await, kit.sign_in("2").await, kit.sign_in("3").await);
    let mut streams = Vec::new();
    for token in [&alice, &bob, &carol] {
        let mut stream = listen(&kit, token, &[PROGRESS]).await;
        assert_eq!(next(&mut stream).await.as_deref(), Some(PROGRESS));
        streams.push(stream);
    }
    let [hers, his, last] = streams.as_mut_slice() else { unreachable!() };
    admin.deny(&keyring(), &prefix, &denial(2, "1")).await;
    assert_eq!(next(hers).await, None);
    assert_eq!(kit.call(&alice).await.status, 403);
    // A sign-in or a refresh reads the record before the reader reads the event.
    admin.write_denial(&keyring(), &prefix, &denial(3, "2")).await;
    kit.gateway.server.learn_denial().await.unwrap();
    admin.deny(&keyring(), &prefix, &denial(3, "2")).await;
    assert_eq!(next(his).await, None);
    // Nobody else's.
    assert!(futures::poll!(Box::pin(next(last))).is_pending());
}
