//! The leader's sweep: what deleted servers left in Redis while nobody watched, or while Redis was away.
//!
//! An instance is erased when the API server itself says, now, that both its McpServer and its keys Secret do not
//! exist: without the keys nobody can ever read it again. A Secret that was retained, an API server that does not
//! answer, an entry of another installation: nothing happens. Nothing outside the operator's own prefix is touched.

use std::{collections::BTreeMap, time::Duration};

use gatehouse_redis::Role;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, core::Status};
use redis::aio::ConnectionLike;

use super::{
    Redis,
    fleet::{self, Fleet},
    index::{self, Instance},
    info::describe,
};
use crate::{
    config::{OperatorConfig, RedisSettings, RedisUsers},
    crd::McpServer,
    server::{context::Context, fetch::ServerName, names},
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
        let ServerName { namespace, name } = &server_of(&instance);
        // What the cache holds need not be asked for: a deletion that it has not seen yet waits for the next sweep.
        if context.server(&server_of(&instance)).is_none()
            && is_gone(&context.client, namespace, name).await?
        {
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

/// Whether the API server says that a server and its keys do not exist.
async fn is_gone(client: &Client, namespace: &str, name: &str) -> Result<bool, String> {
    let servers: Api<McpServer> = Api::namespaced(client.clone(), namespace);
    if !absent(name, servers.get_metadata(name).await)? {
        return Ok(false);
    }
    let keys = names::keys_secret(name);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    absent(&keys, secrets.get_metadata(&keys).await)
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
    use serde_json::json;

    use super::*;

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
