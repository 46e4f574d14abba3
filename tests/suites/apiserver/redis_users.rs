//! `redis.users: Managed` on a real Redis.

use std::{sync::Arc, time::Duration};

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::eventually,
    operator::{Operator, apply, condition, config_from, reaches, ready, references, server},
    redis::Redis,
};
use gatehouse_gateway::{
    clock::SystemClock,
    keys::Keys,
    refs::FixedRefs,
    store::{Event, Store, redis::RedisStore},
};
use gatehouse_gateway_config::{AccessRule, RedisConfig, keys::Keyring};
use gatehouse_operator::crd::McpServer;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams},
};
use redis::aio::MultiplexedConnection;
use serde_json::json;

struct World {
    client: Client,
    namespace: String,
    operator: Operator,
    _kubelet: Kubelet,
}

async fn world(name: &str, redis: &str) -> World {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace(name).await;
    references(&client, &namespace).await;
    let operator = start(api, &namespace, redis).await;
    let kubelet = Kubelet::start(client.clone(), &namespace);
    World { client, namespace, operator, _kubelet: kubelet }
}

/// An operator of a namespace, with its lease there.
async fn start(api: &ApiServer, namespace: &str, redis: &str) -> Operator {
    let config = config_from(json!({
        "redis": { "url": redis, "users": "Managed" },
        "hosts": { "allow": ["*.example.com"] },
        "watch": { "namespaces": [namespace] },
    }));
    Operator::with(api.config(), config, "e2e", Some(namespace)).await
}

impl World {
    /// A connection as the gateway of a server makes it.
    async fn sign_in(&self, redis: &Redis, server: &str) -> Result<MultiplexedConnection, redis::RedisError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let data = secrets.get(&format!("{server}-gateway-redis")).await.unwrap().data.unwrap();
        let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        let info: redis::ConnectionInfo = redis::IntoConnectionInfo::into_connection_info(redis.url())?;
        let login =
            info.redis_settings().clone().set_username(text("username")).set_password(text("password"));
        redis::Client::open(info.set_redis_settings(login))?.get_multiplexed_async_connection().await
    }

    async fn prefix(&self, server: &str) -> String {
        let server = ready(&self.client, &self.namespace, server).await;
        let instance = server.status.unwrap().keys.unwrap().instance;
        format!("gatehouse:{{{}/{}.{instance}}}:", self.namespace, server.metadata.name.unwrap())
    }
}

async fn run(
    connection: &mut MultiplexedConnection,
    words: &[&str],
) -> Result<redis::Value, redis::RedisError> {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(connection).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_reaches_its_own_keys_alone() {
    let redis = Redis::start().await;
    let world = world("acl", &redis.url()).await;
    for name in ["one", "two"] {
        apply::<McpServer>(&world.client, &world.namespace, &server(name)).await;
    }
    let (own, other) = (world.prefix("one").await, world.prefix("two").await);
    // The operator needs no password here, so nobody does.
    reaches(&world.client, &world.namespace, "one", "TenantIsolated", "False", "OpenRedis").await;
    let mut connection = world.sign_in(&redis, "one").await.unwrap();
    let (mine, theirs) = (format!("{own}a"), format!("{other}a"));
    // What the gateway does.
    for words in [
        &["SET", mine.as_str(), "1", "PX", "1000"][..],
        &["GET", &mine],
        &["XADD", &format!("{own}events"), "*", "k", "v"],
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", &mine],
        &["SCRIPT", "LOAD", "return 1"],
        &["TIME"],
        &["WAIT", "0", "1"],
        &["PING"],
        &["CLIENT", "SETNAME", "gateway"],
    ] {
        run(&mut connection, words).await.unwrap_or_else(|e| panic!("{words:?}: {e}"));
    }
    // What it may not do.
    for words in [
        &["GET", theirs.as_str()][..],
        &["SET", &theirs, "1"],
        &["EVAL", "return redis.call('GET', KEYS[1])", "1", &theirs],
        &["EVAL", &format!("return redis.call('GET', '{theirs}')"), "0"],
        &["KEYS", "*"],
        &["SCAN", "0"],
        &["CLUSTERSCAN", "0"],
        &["RANDOMKEY"],
        &["DBSIZE"],
        &["FLUSHALL"],
        &["CONFIG", "GET", "*"],
        &["ACL", "LIST"],
        &["FUNCTION", "LOAD", "#!lua name=x\nredis.register_function('f', function() end)"],
        &["PUBLISH", "channel", "x"],
    ] {
        let error = run(&mut connection, words).await.expect_err(&format!("{words:?} must be refused"));
        // A script reports what it was refused in its own words: Redis's, or Valkey's.
        let said = ["can't access at least one of the keys", "ACL failure in script"];
        let script = words[0] == "EVAL" && said.iter().any(|words| error.to_string().contains(words));
        // Of Valkey alone.
        let unknown = words[0] == "CLUSTERSCAN" && error.to_string().contains("unknown command");
        let refused =
            error.code() == Some("NOPERM") || error.to_string().contains("NOPERM") || script || unknown;
        assert!(refused, "{words:?}: {error}");
    }
}

/// With a login, the operator sees for itself whether others need one.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_isolated_where_nobody_gets_in_without_a_password() {
    let redis = Redis::start().await;
    let mut admin = redis.connection().await;
    let operator = "ACL SETUSER operator on >secret ~* &* +@all";
    run(&mut admin, &operator.split(' ').collect::<Vec<_>>()).await.unwrap();
    let files = tempfile::TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let settings = json!({ "url": redis.url(), "users": "Managed",
        "usernameFile": file("username", "operator"), "passwordFile": file("password", "secret") });
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("isolated").await;
    references(&client, &namespace).await;
    let config = config_from(json!({ "redis": settings, "hosts": { "allow": ["*.example.com"] },
        "watch": { "namespaces": [namespace] } }));
    let _operator = Operator::with(api.config(), config, "e2e", Some(&namespace)).await;
    let _kubelet = Kubelet::start(client.clone(), &namespace);
    apply::<McpServer>(&client, &namespace, &server("one")).await;
    let isolated = async |status: &str, reason: &str| {
        reaches(&client, &namespace, "one", "TenantIsolated", status, reason).await;
    };
    isolated("False", "OpenRedis").await;
    run(&mut admin, &["ACL", "SETUSER", "default", "resetpass", ">other"]).await.unwrap();
    isolated("True", "OwnRedisUser").await;
    // What the operator may not look at is not known.
    run(&mut admin, &["ACL", "SETUSER", "operator", "-acl|getuser"]).await.unwrap();
    isolated("Unknown", "DefaultUserUnseen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_set_again_after_redis_restarts_and_go_with_their_server() {
    let mut redis = Redis::start().await;
    let world = world("again", &redis.url()).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    ready(&world.client, &world.namespace, "one").await;
    assert!(world.sign_in(&redis, "one").await.is_ok());

    redis.kill().await;
    let found =
        reaches(&world.client, &world.namespace, "one", "Programmed", "False", "RedisUnavailable").await;
    assert_eq!(condition(&found, "Available").unwrap().status, "True", "the pods are not touched");
    redis.restart().await;
    ready(&world.client, &world.namespace, "one").await;
    assert!(world.sign_in(&redis, "one").await.is_ok(), "the user died with Redis and is there again");

    let servers: Api<McpServer> = Api::namespaced(world.client.clone(), &world.namespace);
    servers.delete("one", &DeleteParams::default()).await.unwrap();
    let mut admin = redis.connection().await;
    eventually("the user to be gone", async || {
        let users: Vec<String> = redis::cmd("ACL").arg("USERS").query_async(&mut admin).await.ok()?;
        (users == ["default"]).then_some(())
    })
    .await;
    assert!(world.operator.metrics().is_leading());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_password_is_made_anew_and_told_to_redis() {
    let redis = Redis::start().await;
    let world = world("password", &redis.url()).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    ready(&world.client, &world.namespace, "one").await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let old = secrets.get("one-gateway-redis").await.unwrap().data;
    secrets.delete("one-gateway-redis", &DeleteParams::default()).await.unwrap();
    let mut looked = server("one");
    looked["metadata"]["annotations"] = json!({ "example.com/look": "1" });
    apply::<McpServer>(&world.client, &world.namespace, &looked).await;
    eventually("a new password that works", async || {
        let secret = secrets.get_opt("one-gateway-redis").await.ok()??;
        (secret.data != old && world.sign_in(&redis, "one").await.is_ok()).then_some(())
    })
    .await;
}

/// Sorted keys of a pattern.
async fn keys(admin: &mut MultiplexedConnection, pattern: &str) -> Vec<String> {
    let mut keys: Vec<String> = redis::cmd("KEYS").arg(pattern).query_async(admin).await.unwrap();
    keys.sort();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_nobody_watched_is_swept() {
    let redis = Redis::start().await;
    let world = world("sweep", &redis.url()).await;
    for name in ["gone", "retained", "kept"] {
        let mut object = server(name);
        if name == "retained" {
            object["spec"]["keys"] = json!({ "deletionPolicy": "Retain" });
        }
        apply::<McpServer>(&world.client, &world.namespace, &object).await;
    }
    let mut prefixes = Vec::new();
    for name in ["gone", "retained", "kept"] {
        prefixes.push(world.prefix(name).await);
    }
    let mut admin = redis.connection().await;
    eventually("every instance to be in the index", async || {
        let known: usize =
            redis::cmd("HLEN").arg("gatehouse:instances").query_async(&mut admin).await.ok()?;
        (known == 3).then_some(())
    })
    .await;
    let World { client, namespace, operator, _kubelet } = world;
    operator.stop().await.unwrap();

    // Without garbage collection here, the Secret that it would take goes by hand; the retained one stays.
    let servers: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    for name in ["gone", "retained"] {
        servers.delete(name, &DeleteParams::default()).await.unwrap();
        secrets.delete(&format!("{name}-gateway-redis"), &DeleteParams::default()).await.unwrap();
    }
    secrets.delete("gone-gateway-keys", &DeleteParams::default()).await.unwrap();
    // What it must not touch: another cluster's prefix, and another installation that was given the same one.
    let foreign = format!("{namespace}/gone.fedcba9876543210");
    let others = [format!("other:{{{foreign}}}:user:x"), format!("gatehouse:{{{foreign}}}:user:x")];
    let mut pipe = redis::pipe();
    for key in prefixes.iter().map(|prefix| format!("{prefix}user:x")).chain(others.clone()) {
        pipe.set(key, "sealed");
    }
    for index in ["other:instances", "gatehouse:instances"] {
        pipe.hset(index, &foreign, "another installation");
    }
    pipe.query_async::<()>(&mut admin).await.unwrap();

    let operator = start(ApiServer::shared().await, &namespace, &redis.url()).await;
    eventually("what is left of the deleted server to be erased", async || {
        keys(&mut admin, &format!("{}*", prefixes[0])).await.is_empty().then_some(())
    })
    .await;
    let known = format!("gatehouse:{{{namespace}");
    eventually("its entry to go last", async || {
        let index: Vec<String> =
            redis::cmd("HKEYS").arg("gatehouse:instances").query_async(&mut admin).await.ok()?;
        (index.len() == 3 && !index.iter().any(|entry| prefixes[0].contains(entry.as_str()))).then_some(())
    })
    .await;
    let mut left =
        vec![format!("{}user:x", prefixes[1]), format!("{}user:x", prefixes[2]), others[1].clone()];
    left.sort();
    assert_eq!(keys(&mut admin, &format!("{known}*user:x")).await, left);
    assert_eq!(keys(&mut admin, "other:*").await, ["other:instances".to_owned(), others[0].clone()]);
    let users: Vec<String> = redis::cmd("ACL").arg("USERS").query_async(&mut admin).await.unwrap();
    assert!(!users.iter().any(|user| user.contains("/gone.")), "{users:?}");
    assert!(users.iter().any(|user| user.contains("/retained.")), "{users:?}");
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_left_that_was_made_anew_is_swept() {
    let redis = Redis::start().await;
    let world = world("anew", &redis.url()).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    let old = world.prefix("one").await;
    let mut admin = redis.connection().await;
    let index = async |admin: &mut MultiplexedConnection| -> Vec<String> {
        redis::cmd("HKEYS").arg("gatehouse:instances").query_async(admin).await.unwrap()
    };
    eventually("its instance to be in the index", async || {
        (index(&mut admin.clone()).await.len() == 1).then_some(())
    })
    .await;
    run(&mut admin, &["SET", &format!("{old}user:x"), "sealed"]).await.unwrap();
    let World { client, namespace, operator, _kubelet } = world;
    operator.stop().await.unwrap();

    let servers: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    servers.delete("one", &DeleteParams::default()).await.unwrap();
    for secret in ["one-gateway-redis", "one-gateway-keys"] {
        secrets.delete(secret, &DeleteParams::default()).await.unwrap();
    }
    apply::<McpServer>(&client, &namespace, &server("one")).await;
    let api = ApiServer::shared().await;
    let operator = start(api, &namespace, &redis.url()).await;
    let new = eventually("it to have keys of its own", async || {
        Some(servers.get("one").await.ok()?.status?.keys?.instance)
    })
    .await;
    // The next sweep is at the next start.
    operator.stop().await.unwrap();
    let operator = start(api, &namespace, &redis.url()).await;
    let entry = format!("{namespace}/one.{new}");
    eventually("what is left of the first to be erased", async || {
        let index = index(&mut admin.clone()).await;
        (index == [entry.clone()]).then_some(())
    })
    .await;
    assert!(keys(&mut admin, &format!("{old}*")).await.is_empty());
    let users: Vec<String> = redis::cmd("ACL").arg("USERS").query_async(&mut admin).await.unwrap();
    let ours: Vec<&String> = users.iter().filter(|user| user.contains(&namespace)).collect();
    assert_eq!(ours, [&format!("gatehouse:{entry}")]);
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_is_told_to_the_gateways_that_run() {
    let redis = Redis::start().await;
    let world = world("deny", &redis.url()).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    ready(&world.client, &world.namespace, "one").await;
    // The state as a gateway reads it, with the keys that it has.
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let keys = secrets.get("one-gateway-keys").await.unwrap().data.unwrap();
    let ring = Keyring::parse(&keys["keyring.json"].0).unwrap();
    let config: RedisConfig = serde_json::from_value(json!({ "url": redis.url() })).unwrap();
    let clock = Arc::new(SystemClock::default());
    let keys = Keys::new(ring, clock.clone());
    let refs = Arc::new(FixedRefs::default());
    let store = RedisStore::new(&config, &world.namespace, "one", keys, refs, clock).unwrap();
    let cursor = store.event_cursor().await.unwrap();
    assert_eq!(store.denial().await.unwrap(), None, "an empty list is not written where there was none");

    let mut edited = server("one");
    edited["spec"]["access"]["deny"] = json!([{ "subjects": ["42"] }]);
    apply::<McpServer>(&world.client, &world.namespace, &edited).await;
    let batch = store.events(&cursor, Duration::from_secs(30)).await.unwrap();
    assert_eq!((&batch.events[..], batch.gap), (&[Event::Denial][..], false));
    let denial = store.denial().await.unwrap().unwrap();
    assert_eq!(denial.rules, [AccessRule { subjects: vec!["42".to_owned()], ..AccessRule::default() }]);

    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    let batch = store.events(&batch.cursor, Duration::from_secs(30)).await.unwrap();
    assert_eq!((&batch.events[..], batch.gap), (&[Event::Denial][..], false));
    let later = store.denial().await.unwrap().unwrap();
    assert!(later.rules.is_empty() && later.generation > denial.generation, "{later:?}");
}

/// The API server tells a lost label as it tells a deletion; the pods run on, and so does their Redis user.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_the_label_selector_keeps_its_redis_user() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("relabel").await;
    references(&client, &namespace).await;
    let redis = Redis::start().await;
    let config = config_from(json!({
        "redis": { "url": redis.url(), "users": "Managed" },
        "hosts": { "allow": ["*.example.com"] },
        "watch": { "namespaces": [namespace], "labelSelector": "colour=blue" },
    }));
    let operator = Operator::with(api.config(), config, "e2e", Some(&namespace)).await;
    let kubelet = Kubelet::start(client.clone(), &namespace);
    let world = World { client, namespace, operator, _kubelet: kubelet };
    let blue = |name: &str| {
        let mut server = server(name);
        server["metadata"]["labels"] = json!({ "colour": "blue" });
        server
    };
    apply::<McpServer>(&world.client, &world.namespace, &blue("one")).await;
    ready(&world.client, &world.namespace, "one").await;
    world.sign_in(&redis, "one").await.unwrap();

    let servers: Api<McpServer> = Api::namespaced(world.client.clone(), &world.namespace);
    let patch = json!({ "metadata": { "labels": { "colour": null } } });
    servers.patch("one", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    // Users are ended before others are made, and a deletion is confirmed in its turn: when both are through, the first
    // would be gone.
    apply::<McpServer>(&world.client, &world.namespace, &blue("two")).await;
    ready(&world.client, &world.namespace, "two").await;
    servers.delete("two", &DeleteParams::default()).await.unwrap();
    eventually("the user of the deleted server to end", async || world.sign_in(&redis, "two").await.err())
        .await;
    world.sign_in(&redis, "one").await.expect("its pods are still there");
    drop(world.operator);
}
