//! The index of instances: a hash in Redis under the operator's own prefix, from which the sweep learns what there once
//! was. Each entry carries the installation that made it, so that two clusters which share a Redis, and by mistake a
//! prefix, never sweep each other's.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use redis::aio::ConnectionLike;

/// How many entries go into one command.
const BATCH: usize = 500;
/// The longest name of a namespace or object in Kubernetes.
const MAX_NAME: usize = 253;
/// The longest id of a set of keys.
const MAX_ID: usize = 64;

/// One set of keys of one server: `namespace/name.id`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// The server's namespace.
    pub namespace: String,
    /// The server's name.
    pub name: String,
    /// The random id of the keys.
    pub id: String,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.namespace, self.name, self.id)
    }
}

impl Instance {
    /// Reads an entry of the index. Strict: somebody else may have written it, and it becomes the name of keys.
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, rest) = text.split_once('/')?;
        let (name, id) = rest.rsplit_once('.')?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_name = |text: &str| {
            (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| plain(b) || b == b'-' || b == b'.')
        };
        let is_id = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain);
        (is_name(namespace) && is_name(name) && is_id).then(|| Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            id: id.to_owned(),
        })
    }

    /// The prefix of its keys, see the protocols.
    pub fn prefix(&self, key_prefix: &str) -> String {
        format!("{key_prefix}:{{{self}}}:")
    }

    /// Its ACL user: as unique as its keys.
    pub fn username(&self, key_prefix: &str) -> String {
        format!("{key_prefix}:{self}")
    }
}

/// The key of the index.
pub(super) fn key(key_prefix: &str) -> String {
    format!("{key_prefix}:instances")
}

/// The entries that shall be.
#[derive(Debug, Default)]
pub(super) struct Index {
    installation: OnceLock<String>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    wanted: BTreeSet<Instance>,
    /// On the present connection.
    written: BTreeSet<Instance>,
}

impl Index {
    /// Entries are made in the name of this installation from now on.
    pub(super) fn belongs_to(&self, installation: &str) {
        // It never changes while the process lives.
        let _ = self.installation.set(installation.to_owned());
    }

    /// Asks for an entry; whether it is new.
    pub(super) fn add(&self, instance: Instance) -> bool {
        self.entries().wanted.insert(instance)
    }

    /// The instance is swept.
    pub(super) fn remove(&self, instance: &Instance) {
        let mut entries = self.entries();
        entries.wanted.remove(instance);
        entries.written.remove(instance);
    }

    /// Another connection, perhaps to an empty Redis: everything is written again.
    pub(super) fn connected(&self) {
        self.entries().written.clear();
    }

    /// Writes what is missing.
    ///
    /// # Errors
    /// When Redis is away or refuses it.
    pub(super) async fn write(
        &self,
        connection: &mut (impl ConnectionLike + Send),
        key_prefix: &str,
    ) -> redis::RedisResult<()> {
        let Some(installation) = self.installation.get() else { return Ok(()) };
        let missing: Vec<Instance> = {
            let entries = self.entries();
            entries.wanted.difference(&entries.written).cloned().collect()
        };
        for batch in missing.chunks(BATCH) {
            let mut command = redis::cmd("HSET");
            command.arg(key(key_prefix));
            for instance in batch {
                command.arg(instance.to_string()).arg(installation);
            }
            command.query_async::<()>(connection).await?;
            self.entries().written.extend(batch.iter().cloned());
        }
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_as_it_was_written_and_nothing_else_is() {
        let instance =
            Instance { namespace: "team-a".into(), name: "git.hub".into(), id: "0123456789abcdef".into() };
        assert_eq!(Instance::parse(&instance.to_string()), Some(instance.clone()));
        assert_eq!(instance.prefix("gatehouse"), "gatehouse:{team-a/git.hub.0123456789abcdef}:");
        let long = format!("a/{}.0", "b".repeat(254));
        for bad in
            ["", "a", "a/b", "a/b.", "/b.0", "a/.0", "a/*.0", "a/b.*", "a/b}.0", "a:b/c.0", "a/B.0", &long]
        {
            assert_eq!(Instance::parse(bad), None, "{bad}");
        }
    }
}
