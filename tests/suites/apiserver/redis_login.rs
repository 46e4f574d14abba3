//! A Redis that asks everybody for a certificate and a login: the operator with the rights that the README tells to give
//! it, no more, from files as the chart mounts them; and what it renders, as a gateway uses it.

use std::{path::Path, sync::Arc, time::Duration};

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::{eventually, free_port},
    operator::{Operator, apply, condition, config_from, reaches, ready, references, server},
    redis_fleet::{
        RedisFleet,
        tls::{Authority, Chain},
    },
};
use gatehouse_gateway::{
    clock::SystemClock,
    keys::Keys,
    refs::FixedRefs,
    store::{Store, redis::RedisStore},
};
use gatehouse_gateway_config::{AccessRule, GatewayConfig, KeyRef, keys::Keyring};
use gatehouse_operator::crd::McpServer;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);
/// The operator's password.
const PASSWORD: &str = "of the operator";

/// The words that the README has administrators give to `ACL SETUSER`, on nodes or on Sentinels.
fn documented(sentinel: bool) -> Vec<String> {
    let rules =
        include_str!("../../../README.md").lines().filter_map(|line| line.strip_prefix("ACL SETUSER "));
    let mut rules = rules.filter(|rule| rule.contains("+sentinel|master") == sentinel);
    let rule = rules.next().expect("the README has the rule");
    let word = |word: &str| if word == ">PASSWORD" { format!(">{PASSWORD}") } else { word.to_owned() };
    rule.split(' ').map(word).collect()
}

/// Runs `ACL SETUSER` with these words.
async fn set_user(connection: &mut MultiplexedConnection, words: &[String]) {
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg(words)
        .query_async::<()>(connection)
        .await
        .expect("Redis knows every word");
}

/// The operator's user, as documented, at every process.
async fn admit(fleet: &RedisFleet) {
    for mut node in fleet.connections().await {
        set_user(&mut node, &documented(false)).await;
    }
    for mut sentinel in fleet.guarded_sentinels().await {
        set_user(&mut sentinel, &documented(true)).await;
    }
}

/// Ends the operator's connections to a process.
async fn cut(process: &mut MultiplexedConnection) {
    redis::cmd("CLIENT").arg(&["KILL", "USER", "gatehouse"]).query_async::<i64>(process).await.unwrap();
}

/// Waits until the operator is connected to a process.
async fn comes(process: &mut MultiplexedConnection) {
    eventually("the operator to come with the new password", async || {
        let clients: String = redis::cmd("CLIENT").arg("LIST").query_async(process).await.unwrap();
        clients.contains(" user=gatehouse ").then_some(())
    })
    .await;
}

/// The part `redis` of the operator's configuration as the chart renders it, and its files as it mounts them.
fn settings(fleet: &RedisFleet, mounts: &Path, users: &str) -> Value {
    let guard = fleet.guard().expect("it is guarded");
    let Chain { certificate, key } = guard.client();
    let mount = |volume: &str, files: &[(&str, &str)]| {
        let directory = mounts.join(volume);
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            std::fs::write(directory.join(name), text).unwrap();
        }
        directory
    };
    let login = mount("redis", &[("username", "gatehouse"), ("password", PASSWORD)]);
    let ca = mount("redis-ca", &[("ca.crt", &guard.ca())]);
    let pair = mount("redis-certificate", &[("tls.crt", &certificate), ("tls.key", &key)]);
    let mut settings = json!({
        "url": fleet.url(), "keyPrefix": "gatehouse", "users": users,
        "usernameFile": login.join("username"), "passwordFile": login.join("password"),
        "tls": { "caFile": ca.join("ca.crt"), "certFile": pair.join("tls.crt"), "keyFile": pair.join("tls.key") },
    });
    if let Some(name) = guard.server_name() {
        settings["tls"]["serverName"] = name.into();
    }
    settings
}

struct World {
    client: Client,
    namespace: String,
    settings: Value,
    operator: Operator,
    mounts: TempDir,
    _kubelet: Kubelet,
}

/// An operator of a namespace, with its lease there, and its server `one`.
async fn world(name: &str, fleet: &RedisFleet, users: &str) -> World {
    let api = ApiServer::shared().await;
    let (client, namespace) = (api.client(), api.namespace(name).await);
    references(&client, &namespace).await;
    let mounts = TempDir::new().unwrap();
    let settings = settings(fleet, mounts.path(), users);
    let operator = start(api, &namespace, &settings).await;
    let kubelet = Kubelet::start(client.clone(), &namespace);
    apply::<McpServer>(&client, &namespace, &server("one")).await;
    World { client, namespace, settings, operator, mounts, _kubelet: kubelet }
}

async fn start(api: &ApiServer, namespace: &str, redis: &Value) -> Operator {
    let config = config_from(json!({
        "redis": redis,
        "hosts": { "allow": ["*.example.com"] },
        "watch": { "namespaces": [namespace] },
    }));
    Operator::with(api.config(), config, "e2e", Some(namespace)).await
}

impl World {
    /// What the status says of `Ready`, once it is.
    async fn ready(&self) -> String {
        let server = ready(&self.client, &self.namespace, "one").await;
        condition(&server, "Ready").unwrap().message.clone()
    }

    /// The store of a gateway that has the configuration and the Secrets that its pod would have.
    async fn store(&self) -> RedisStore {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let labels = ListParams::default().labels("app.kubernetes.io/instance=one");
        let map = maps.list(&labels).await.unwrap().items.pop().expect("there is a configuration");
        let text = map.data.unwrap().into_values().next().unwrap();
        let redis = GatewayConfig::parse(&text).unwrap().redis.unwrap();
        let (mut refs, mut ring) = (FixedRefs::default(), None);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        for secret in secrets.list(&ListParams::default()).await.unwrap() {
            let name = secret.metadata.name.unwrap();
            for (key, value) in secret.data.unwrap_or_default() {
                if key == "keyring.json" {
                    ring = Some(Keyring::parse(&value.0).unwrap());
                }
                refs.insert(KeyRef::secret(&name, &key), value.0);
            }
        }
        let clock = Arc::new(SystemClock::default());
        let keys = Keys::new(ring.expect("the server has keys"), clock.clone());
        RedisStore::new(&redis, &self.namespace, "one", keys, Arc::new(refs), clock).unwrap()
    }

    /// Denies a user, and waits until the gateways that run are told.
    async fn deny(&self, store: &RedisStore) {
        self.edit_deny().await;
        let denial = eventually("the denial to be told", async || store.denial().await.ok()?).await;
        assert_eq!(denial.rules, [AccessRule { subjects: vec!["42".to_owned()], ..AccessRule::default() }]);
    }

    /// Every process takes another password of the operator's than before, and it goes on once its file has that.
    async fn rotate(&self, fleet: &RedisFleet) {
        let mut processes = fleet.connections().await;
        processes.extend(fleet.guarded_sentinels().await);
        for process in &mut processes {
            set_user(process, &["gatehouse", "resetpass", ">of tomorrow"].map(str::to_owned)).await;
            cut(process).await;
        }
        self.says_programmed("it does not accept the operator's user and password").await;
        std::fs::write(self.mounts.path().join("redis/password"), "of tomorrow").unwrap();
        for process in &mut processes {
            comes(process).await;
        }
    }

    /// Waits until the condition `Programmed` says this.
    async fn says_programmed(&self, text: &str) {
        eventually(&format!("the status to say {text}"), async || {
            let servers: Api<McpServer> = Api::namespaced(self.client.clone(), &self.namespace);
            let server = servers.get("one").await.unwrap();
            condition(&server, "Programmed")?.message.contains(text).then_some(())
        })
        .await;
    }

    async fn edit_deny(&self) {
        let mut edited = server("one");
        edited["spec"]["access"]["deny"] = json!([{ "subjects": ["42"] }]);
        apply::<McpServer>(&self.client, &self.namespace, &edited).await;
    }
}

/// Everything that the operator does, to the sweep of a server that was deleted while it did not run.
async fn managed(name: &str, fleet: &RedisFleet) {
    admit(fleet).await;
    let world = world(name, fleet, "Managed").await;
    assert_eq!(world.ready().await, "users can sign in", "and there is nothing to add");
    reaches(&world.client, &world.namespace, "one", "TenantIsolated", "True", "OwnRedisUser").await;
    let store = world.store().await;
    store.hit("a", MINUTE).await.expect("its user may do what a gateway does");
    world.rotate(fleet).await;
    world.deny(&store).await;
    assert_eq!(world.ready().await, "users can sign in");

    let World { client, namespace, operator, .. } = &world;
    let servers: Api<McpServer> = Api::namespaced(client.clone(), namespace);
    let instance = servers.get("one").await.unwrap().status.unwrap().keys.unwrap().instance;
    let (entry, index) = (format!("{namespace}/one.{instance}"), "gatehouse:instances");
    let known = async || -> bool {
        let mut master = fleet.master(index).await;
        redis::cmd("HEXISTS").arg(index).arg(&entry).query_async(&mut master).await.unwrap()
    };
    eventually("the server to be in the index", async || known().await.then_some(())).await;
    assert!(operator.metrics().is_leading());
    let World { client, namespace, settings, operator, mounts: _mounts, _kubelet } = world;
    operator.stop().await.unwrap();
    Api::<McpServer>::namespaced(client.clone(), &namespace)
        .delete("one", &DeleteParams::default())
        .await
        .unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    for secret in ["one-gateway-redis", "one-gateway-keys"] {
        secrets.delete(secret, &DeleteParams::default()).await.unwrap();
    }
    let operator = start(ApiServer::shared().await, &namespace, &settings).await;
    eventually("its entry, which goes last, to be erased", async || (!known().await).then_some(())).await;
    let prefix = format!("gatehouse:{{{entry}}}:");
    let left: Vec<String> = redis::cmd("KEYS")
        .arg(format!("{prefix}*"))
        .query_async(&mut fleet.master(&prefix).await)
        .await
        .unwrap();
    assert!(left.is_empty(), "{left:?}");
    for mut node in fleet.connections().await {
        let users: Vec<String> = redis::cmd("ACL").arg("USERS").query_async(&mut node).await.unwrap();
        assert_eq!(users, ["default", "gatehouse"]);
    }
    operator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn managed_with_the_documented_rights() {
    managed("tls", &RedisFleet::standalone_tls(free_port(), "redis.example").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn managed_with_the_documented_rights_by_sentinels() {
    managed("tls-sentinel", &RedisFleet::sentinel_tls(free_port, "redis.example").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn managed_with_the_documented_rights_in_a_cluster() {
    managed("tls-cluster", &RedisFleet::cluster_tls(free_port, "127.0.0.1").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_gives_the_servers_the_operators_login_and_certificate() {
    let fleet = RedisFleet::standalone_tls(free_port(), "redis.example").await;
    admit(&fleet).await;
    let world = world("tls-shared", &fleet, "Shared").await;
    assert_eq!(world.ready().await, "users can sign in");
    reaches(&world.client, &world.namespace, "one", "TenantIsolated", "False", "SharedRedisUser").await;
    let store = world.store().await;
    store.hit("a", MINUTE).await.unwrap();
    world.deny(&store).await;
    assert_eq!(world.ready().await, "users can sign in");

    // Redis takes either password, so it tells the operator nothing: that the files are others must be enough.
    let mut redis = fleet.connections().await.remove(0);
    set_user(&mut redis, &["gatehouse", ">of tomorrow"].map(str::to_owned)).await;
    let bundle = fleet.guard().unwrap().ca() + &Authority::generate().pem();
    std::fs::write(world.mounts.path().join("redis/password"), "of tomorrow").unwrap();
    std::fs::write(world.mounts.path().join("redis-ca/ca.crt"), &bundle).unwrap();
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    eventually("the server's Secret to have both", async || {
        let data = secrets.get("one-gateway-redis").await.unwrap().data.unwrap();
        (data["password"].0 == b"of tomorrow" && data["ca.crt"].0 == bundle.as_bytes()).then_some(())
    })
    .await;
    set_user(&mut redis, &["gatehouse".to_owned(), format!("<{PASSWORD}")]).await;
    cut(&mut redis).await;
    comes(&mut redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provided_takes_login_and_certificate_from_the_namespace() {
    let fleet = RedisFleet::standalone_tls(free_port(), "redis.example").await;
    let world = world("tls-provided", &fleet, "Provided").await;
    // As the README has it: the same without `acl` and without what shows everybody's keys, on the namespace's.
    let mut rule = documented(false);
    rule.retain(|word| !word.starts_with("+acl|"));
    rule.extend(["-scan", "-randomkey", "-dbsize"].map(str::to_owned));
    rule[0] = "tenant".to_owned();
    let keys = rule.iter_mut().find(|word| *word == "~gatehouse:*").unwrap();
    *keys = format!("~gatehouse:{{{}/*", world.namespace);
    for mut node in fleet.connections().await {
        set_user(&mut node, &rule).await;
    }
    reaches(&world.client, &world.namespace, "one", "ResolvedRefs", "False", "RefNotFound").await;
    let guard = fleet.guard().unwrap();
    let Chain { certificate, key } = guard.client();
    let provided = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "gatehouse-redis" },
        "stringData": { "username": "tenant", "password": PASSWORD, "ca.crt": guard.ca(), "tls.crt": certificate,
            "tls.key": key } });
    apply::<Secret>(&world.client, &world.namespace, &provided).await;
    assert_eq!(world.ready().await, "users can sign in");
    world.store().await.hit("a", MINUTE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_refuses_is_said_and_done_when_the_right_is_given() {
    let fleet = RedisFleet::standalone_tls(free_port(), "redis.example").await;
    admit(&fleet).await;
    let mut redis = fleet.connections().await.remove(0);
    set_user(&mut redis, &["gatehouse", "-hset"].map(str::to_owned)).await;
    let world = world("tls-refused", &fleet, "Managed").await;
    let says = async |what: &str, wanted: bool| {
        eventually(&format!("the status to say ({wanted}) that Redis refused {what}"), async || {
            let refused = format!("Redis refused {what}: the operator's user may not do this");
            (world.ready().await.contains(&refused) == wanted).then_some(())
        })
        .await;
    };
    says("the index of servers", true).await;
    set_user(&mut redis, &documented(false)).await;
    says("the index of servers", false).await;
    let known: i64 = redis::cmd("HLEN").arg("gatehouse:instances").query_async(&mut redis).await.unwrap();
    assert_eq!(known, 1);

    set_user(&mut redis, &["gatehouse", "-evalsha", "-script|load"].map(str::to_owned)).await;
    world.edit_deny().await;
    says("to take access.deny", true).await;
    let store = world.store().await;
    assert_eq!(store.denial().await.unwrap(), None);
    set_user(&mut redis, &documented(false)).await;
    says("to take access.deny", false).await;
    world.deny(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sentinel_refuses_is_said_with_the_rights_that_it_takes() {
    let fleet = RedisFleet::sentinel_tls(free_port, "redis.example").await;
    admit(&fleet).await;
    let at_sentinels = async |words: &[String]| {
        for mut sentinel in fleet.guarded_sentinels().await {
            set_user(&mut sentinel, words).await;
        }
    };
    let takes = async |right: &str| at_sentinels(&["gatehouse", right].map(str::to_owned)).await;
    takes("-acl|setuser").await;
    let world = world("tls-sentinel-refused", &fleet, "Managed").await;
    let rights = documented(true).split_off(3).join(" ");
    let says = async |what: &str| {
        let text =
            format!("{what}: the operator's user may not do this; its rights at Sentinels must be {rights}");
        world.says_programmed(&text).await;
    };
    says("Redis refused the ACL user of this server").await;
    at_sentinels(&documented(true)).await;
    assert_eq!(world.ready().await, "users can sign in");
    for right in ["-sentinel|replicas", "-sentinel|master"] {
        takes(right).await;
        says(&format!("Redis at {} cannot be used", fleet.url())).await;
        at_sentinels(&documented(true)).await;
        assert_eq!(world.ready().await, "users can sign in");
    }
}
