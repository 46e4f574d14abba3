//! The leader's sweep: what deleted servers left in Redis while nobody watched, or while Redis was away.
//!
//! An instance is erased when the API server itself says, now, that both its McpServer and its keys Secret do not
//! exist, or that both name another instance: without the keys nobody can ever read it again. A Secret that was retained,
//! a status that names no instance, an API server that does not answer, an entry of another installation: nothing happens.
//! Nothing outside the operator's own prefix is touched.

use std::{collections::BTreeMap, time::Duration};

use gatehouse_gateway_config::{KEYRING_KEY, keys::Keyring};
use gatehouse_redis::Role;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, Resource, core::Status};
use redis::aio::ConnectionLike;

use super::{
    Redis,
    fleet::{self, Fleet},
    index::{self, Instance},
    info::describe,
};
use crate::{
    config::{OperatorConfig, RedisSettings, RedisUsers},
    server::{context::Context, fetch::ServerName, guarded::GuardedServer, names},
};

/// How often the sweep is made, from the beginning of leadership on.
const EVERY: Duration = Duration::from_secs(3600);
/// How soon it is tried again after it failed.
const AGAIN: Duration = Duration::from_secs(60);
/// How many keys one `SCAN` looks at.
const SCANNED: usize = 1000;

/// Sweeps now and each hour, for this installation, until the future is dropped.
pub async fn run(context: &Context, installation: &str) {
    context.redis.belongs_to(installation);
    loop {
        let pause = match sweep(context, installation).await {
            Ok(0) => EVERY,
            Ok(erased) => {
                tracing::info!(erased, "erased from Redis what deleted servers had left");
                EVERY
            }
            Err(error) => {
                tracing::warn!(error, "what deleted servers left in Redis could not be looked for");
                AGAIN
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// One sweep; how many instances were erased.
async fn sweep(context: &Context, installation: &str) -> Result<usize, String> {
    let OperatorConfig { redis: settings, .. } = &context.config;
    let mut connection = fleet::index_connection(settings).await?;
    let mut gone = Vec::new();
    for instance in entries(&mut connection, &settings.key_prefix, installation).await? {
        // What the cache holds need not be asked for: a deletion that it has not seen yet waits for the next sweep.
        let lives = context
            .server(&server_of(&instance))
            .is_some_and(|server| another_instance(&server, &instance).is_none());
        if !lives && is_over(&context.client, &instance).await? {
            gone.push(instance);
        }
    }
    if gone.is_empty() {
        return Ok(0);
    }
    erase(settings, &gone).await?;
    forget(&mut connection, settings, &gone).await.map_err(|e| describe(&e, Role::Master))?;
    for instance in &gone {
        context.redis.swept(instance);
        context.redis.release(&instance.username(&settings.key_prefix));
    }
    Ok(gone.len())
}

fn server_of(instance: &Instance) -> ServerName {
    ServerName { namespace: instance.namespace.clone(), name: instance.name.clone() }
}

/// The instances of this installation that the index knows.
async fn entries(
    connection: &mut (impl ConnectionLike + Send),
    key_prefix: &str,
    installation: &str,
) -> Result<Vec<Instance>, String> {
    let all: BTreeMap<String, String> = redis::cmd("HGETALL")
        .arg(index::key(key_prefix))
        .query_async(connection)
        .await
        .map_err(|e| describe(&e, Role::Master))?;
    let ours = all.iter().filter(|(_, owner)| *owner == installation);
    Ok(ours.filter_map(|(entry, _)| Instance::parse(entry)).collect())
}

/// Whether the API server says that nobody has the keys of an instance any more: its server and their Secret do not exist,
/// or both are of another instance, made anew under the same name or accepted in the place of keys that were lost.
async fn is_over(client: &Client, instance: &Instance) -> Result<bool, String> {
    let Instance { namespace, name, .. } = instance;
    let servers: Api<GuardedServer> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let keys = names::keys_secret(name);
    let answer = servers.get(name).await;
    if let Ok(server) = &answer {
        let Some(other) = another_instance(server, instance) else { return Ok(false) };
        let answer = secrets.get(&keys).await;
        let held = answer.as_ref().ok().and_then(instance_in);
        // Where there is no Secret, or one that says nothing, the old keys may yet be put back.
        return absent(&keys, answer).map(|_| held.as_deref() == Some(other));
    }
    if !absent(name, answer)? {
        return Ok(false);
    }
    absent(&keys, secrets.get_metadata(&keys).await)
}

/// The instance that a server has by its status, if that is another one.
fn another_instance<'a>(server: &'a GuardedServer, instance: &Instance) -> Option<&'a str> {
    let known = server.status()?.keys.as_ref()?.instance.as_str();
    (known != instance.id && server.meta().deletion_timestamp.is_none()).then_some(known)
}

/// The instance whose keys a Secret holds.
fn instance_in(secret: &Secret) -> Option<String> {
    let keys = secret.data.as_ref()?.get(KEYRING_KEY)?;
    Keyring::parse(&keys.0).ok().map(|ring| ring.instance.clone())
}

/// What an answer says of an object. A 404 counts only when it names the object: an API server that does not serve the
/// resource at this moment answers 404, too.
pub(crate) fn absent<T>(name: &str, answer: Result<T, kube::Error>) -> Result<bool, String> {
    let named =
        |status: &Status| status.details.as_ref().is_some_and(|d| d.name == name && !d.kind.is_empty());
    match answer {
        Ok(_) => Ok(false),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Ok(status.reason == "NotFound" && named(&status))
        }
        // The namespace is not, or no more, one of this operator's.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(false),
        Err(error) => Err(format!("the API server: {error}")),
    }
}

/// Erases ACL users at every node, and keys at every master. The entries come last, so that what was interrupted, or
/// could not be done at a node that was away, is found again.
async fn erase(settings: &RedisSettings, gone: &[Instance]) -> Result<(), String> {
    let mut fleet = Fleet::default();
    if let Some(away) = fleet.meet(settings).await?.pop() {
        return Err(away.text);
    }
    if settings.users == RedisUsers::Managed {
        for node in fleet.nodes.values_mut() {
            for instance in gone {
                let mut delete = redis::cmd("ACL");
                delete.arg("DELUSER").arg(instance.username(&settings.key_prefix));
                delete.query_async::<()>(&mut node.connection).await.map_err(|e| describe(&e, node.role))?;
            }
        }
    }
    let prefixes: Vec<String> = gone.iter().map(|instance| instance.prefix(&settings.key_prefix)).collect();
    for node in fleet.masters() {
        let erased = erase_keys(&mut node.connection, &settings.key_prefix, &prefixes).await;
        erased.map_err(|e| describe(&e, node.role))?;
    }
    Ok(())
}

/// Erases the keys with one of these prefixes at one master.
async fn erase_keys(
    connection: &mut (impl ConnectionLike + Send),
    key_prefix: &str,
    prefixes: &[String],
) -> redis::RedisResult<()> {
    let mut cursor = 0u64;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{key_prefix}:{{*")).arg("COUNT").arg(SCANNED);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(connection).await?;
        let theirs = |key: &&Vec<u8>| prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()));
        let mut unlinks = redis::pipe();
        for key in keys.iter().filter(theirs) {
            // One each: a Cluster takes no command on keys of several slots.
            unlinks.cmd("UNLINK").arg(key).ignore();
        }
        if !unlinks.is_empty() {
            unlinks.query_async::<()>(connection).await?;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}

/// Removes the entries.
async fn forget(
    connection: &mut (impl ConnectionLike + Send),
    settings: &RedisSettings,
    gone: &[Instance],
) -> redis::RedisResult<()> {
    let entries: Vec<String> = gone.iter().map(Instance::to_string).collect();
    redis::cmd("HDEL").arg(index::key(&settings.key_prefix)).arg(entries).query_async::<()>(connection).await
}

impl Redis {
    /// The index's entries are this installation's.
    fn belongs_to(&self, installation: &str) {
        self.inner.index.belongs_to(installation);
        self.inner.changed.notify_one();
    }

    /// Nothing of this instance is left.
    fn swept(&self, instance: &Instance) {
        self.inner.index.remove(instance);
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        clock::Entropy,
        testing::{self, Asked, failure},
    };

    const SERVERS: &str = "/apis/gatehouse.dev/v1alpha1/namespaces/a/mcpservers/s";

    /// What is said of an instance where the server has a status and the keys Secret an instance; null: there is none.
    async fn over(id: &str, server: Value, secret: Value) -> Result<bool, String> {
        let answer = move |Asked { path, .. }: Asked| {
            let (object, kind, name) = if path == SERVERS {
                (server.clone(), "mcpservers", "s")
            } else {
                (secret.clone(), "secrets", "s-gateway-keys")
            };
            let (code, mut missing) = failure(404, "NotFound", "not found");
            missing["details"] = json!({ "name": name, "kind": kind });
            Some(if object.is_null() { (code, missing) } else { (200, object) })
        };
        let instance = Instance { namespace: "a".into(), name: "s".into(), id: id.into() };
        is_over(&testing::client(answer), &instance).await
    }

    #[tokio::test]
    async fn an_instance_is_over_when_its_server_and_keys_are_gone_or_are_anothers() {
        let server = |status: Value| {
            json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
                "metadata": { "name": "s", "namespace": "a" }, "spec": "cannot be read", "status": status })
        };
        let knows = |id: &str| server(json!({ "keys": { "secret": "s-gateway-keys", "instance": id } }));
        let (ring, third) = Entropy::seeded(1).with(|rng| (Keyring::generate(rng), Keyring::generate(rng)));
        let holds = |ring: &Keyring| {
            json!({ "metadata": { "name": "s-gateway-keys" },
            "data": { KEYRING_KEY: STANDARD.encode(ring.to_json()) } })
        };
        let unreadable = json!({ "metadata": { "name": "s-gateway-keys" }, "data": { KEYRING_KEY: "" } });
        let new = ring.instance.as_str();
        assert_eq!(over("old", Value::Null, Value::Null).await, Ok(true));
        assert_eq!(over("old", knows(new), holds(&ring)).await, Ok(true), "made anew");

        assert_eq!(over("old", Value::Null, holds(&ring)).await, Ok(false), "retained");
        assert_eq!(over(new, knows(new), holds(&ring)).await, Ok(false));
        assert_eq!(over("old", knows("old"), holds(&ring)).await, Ok(false), "nobody accepted the loss");
        assert_eq!(over(new, knows("lost"), holds(&ring)).await, Ok(false), "the keys are there");
        assert_eq!(over("old", knows(new), holds(&third)).await, Ok(false), "the two do not agree");
        for nothing in [Value::Null, unreadable] {
            assert_eq!(over("old", knows(new), nothing).await, Ok(false), "they may come back");
        }
        assert_eq!(over("old", server(json!({})), holds(&ring)).await, Ok(false), "nothing is known");
        let mut deleted = knows(new);
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(over("old", deleted, holds(&ring)).await, Ok(false), "it goes itself");
    }

    fn answer(status: serde_json::Value) -> Result<(), kube::Error> {
        Err(kube::Error::Api(Box::new(serde_json::from_value(status).unwrap())))
    }

    #[test]
    fn only_a_404_that_names_the_object_says_that_it_is_gone() {
        let not_found = |details| json!({"code": 404, "reason": "NotFound", "details": details});
        assert_eq!(absent("x", answer(not_found(json!({"name": "x", "kind": "mcpservers"})))), Ok(true));
        assert_eq!(absent("x", Ok(())), Ok(false));
        // The resource is not served: the CRD was taken away, or an aggregated server is.
        assert_eq!(absent("x", answer(not_found(json!({})))), Ok(false));
        assert_eq!(absent("x", answer(not_found(json!({"name": "y", "kind": "mcpservers"})))), Ok(false));
        assert_eq!(absent("x", answer(json!({"code": 404, "reason": "Unknown"}))), Ok(false));
        assert_eq!(absent("x", answer(json!({"code": 403, "reason": "Forbidden"}))), Ok(false));
        for code in [401, 429, 500, 503] {
            assert!(absent("x", answer(json!({"code": code, "reason": "Unknown"}))).is_err(), "{code}");
        }
    }
}
