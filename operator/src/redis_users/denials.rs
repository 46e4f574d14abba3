//! `access.deny` on its way to gateways that still run: written to Redis at once, ahead of the roll-out that brings it
//! into their configuration. Where the operator has no Redis (`Provided`), the roll-out is the bound.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gatehouse_gateway_config::denial::{self, SealedDenial};
use redis::aio::ConnectionLike;

use super::index::Instance;

/// Writes a denial where it differs from what is there, and tells the gateways in one step. Entries of `events` are
/// numbered, as the gateways' own are, so that no reader takes this one for a gap.
const WRITE: &str = r"
if redis.call('HGET', KEYS[1], 'r') == ARGV[1] and redis.call('HGET', KEYS[1], 'm') == ARGV[2] then return 0 end
if ARGV[3] == '1' and redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'r', ARGV[1], 'm', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
local n = last and tonumber(last[2][2]) or 0
redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[6], '*', 'n', string.format('%.0f', n + 1), 'of', ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return 1
";
/// How many events a server keeps, as its gateways do.
const EVENTS_KEPT: u32 = 1000;
/// The life of the record and of the events, in milliseconds: 400 days.
const LIFE: u64 = 400 * 24 * 3600 * 1000;

/// The denials that shall be.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    wanted: BTreeMap<Instance, SealedDenial>,
    /// On the present connection.
    written: BTreeMap<Instance, SealedDenial>,
}

impl Denials {
    /// Asks for a denial; whether it is new.
    pub(super) fn set(&self, instance: Instance, denial: SealedDenial) -> bool {
        let mut entries = self.entries();
        if entries.wanted.get(&instance) == Some(&denial) {
            return false;
        }
        entries.wanted.insert(instance, denial);
        true
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

    /// Writes what is missing. A Redis that refuses it leaves the edit to the roll-out.
    pub(super) async fn write(
        &self,
        connection: &mut (impl ConnectionLike + Send),
        key_prefix: &str,
    ) -> redis::RedisResult<()> {
        let script = redis::Script::new(WRITE);
        for (instance, denial) in self.missing() {
            let prefix = instance.prefix(key_prefix);
            let mut call = script.key(format!("{prefix}{}", denial::KEY));
            call.key(format!("{prefix}events")).arg(&denial.text).arg(&denial.mac);
            call.arg(u8::from(denial.is_empty)).arg(denial::EVENT).arg(LIFE).arg(EVENTS_KEPT);
            match call.invoke_async::<i64>(connection).await {
                Err(error) if error.is_io_error() || error.is_timeout() => return Err(error),
                // In a Cluster another master holds the server's slot, or will in a moment.
                Err(error)
                    if matches!(
                        error.code(),
                        Some("MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" | "READONLY")
                    ) =>
                {
                    continue;
                }
                Err(error) => tracing::warn!(%instance, %error, "access.deny waits for the roll-out"),
                Ok(_) => {}
            }
            self.entries().written.insert(instance, denial);
        }
        Ok(())
    }

    fn missing(&self) -> Vec<(Instance, SealedDenial)> {
        let entries = self.entries();
        let missing =
            entries.wanted.iter().filter(|(name, denial)| entries.written.get(name) != Some(denial));
        missing.map(|(name, denial)| (name.clone(), denial.clone())).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
