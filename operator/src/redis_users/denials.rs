//! `access.deny` on its way to gateways that still run: written to Redis at once, ahead of the roll-out that brings it
//! into their configuration. Where the operator has no Redis (`Provided`), the roll-out is the bound.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gatehouse_gateway_config::denial::{self, SealedDenial};
use gatehouse_redis::Role;
use redis::aio::ConnectionLike;
use tokio::time::Instant;

use super::{
    index::Instance,
    info::{describe, is_elsewhere},
};

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
/// How soon a denial that Redis refused is tried again: whoever administers it may have given the right meanwhile.
const AGAIN: Duration = Duration::from_secs(30);
/// How many are tried at one beat, so that the users of new servers need not wait for all of them.
const TRIES: usize = 256;

/// The denials that shall be.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    wanted: BTreeMap<Instance, SealedDenial>,
    /// On the present connection.
    written: BTreeMap<Instance, SealedDenial>,
    refused: BTreeMap<Instance, Refusal>,
    /// The last one of a beat that did not come to all: the next goes on behind it.
    last: Option<Instance>,
}

impl Entries {
    /// Forgets what a server had under keys other than `kept`.
    fn withdraw(&mut self, namespace: &str, name: &str, kept: Option<&str>) {
        let first = Instance { namespace: namespace.to_owned(), name: name.to_owned(), id: String::new() };
        let behind = self.wanted.range(first..).map(|(instance, _)| instance);
        let its = behind.take_while(|i| i.namespace == namespace && i.name == name);
        let gone: Vec<_> = its.filter(|i| Some(i.id.as_str()) != kept).cloned().collect();
        for instance in &gone {
            self.wanted.remove(instance);
            self.written.remove(instance);
            self.refused.remove(instance);
        }
    }

    fn is_due(&self, name: &Instance, denial: &SealedDenial) -> bool {
        let refused = self.refused.get(name);
        let waits = refused.is_some_and(|r| r.denial == *denial && r.at.elapsed() < AGAIN);
        self.written.get(name) != Some(denial) && !waits
    }

    /// What went while it was on its way leaves no trace.
    fn took(&mut self, instance: &Instance, denial: &SealedDenial) {
        self.refused.remove(instance);
        if self.wanted.contains_key(instance) {
            self.written.insert(instance.clone(), denial.clone());
        }
    }

    fn refuse(&mut self, (instance, denial): &(Instance, SealedDenial), reason: &str) {
        if !self.wanted.contains_key(instance) {
            return;
        }
        let refusal = Refusal { denial: denial.clone(), reason: reason.to_owned(), at: Instant::now() };
        self.refused.insert(instance.clone(), refusal);
    }
}

/// A denial that Redis did not take.
#[derive(Debug)]
struct Refusal {
    denial: SealedDenial,
    reason: String,
    at: Instant,
}

impl Denials {
    /// Asks for a denial, instead of what its server had before; whether it is new.
    pub(super) fn set(&self, instance: Instance, denial: SealedDenial) -> bool {
        let mut entries = self.entries();
        if entries.wanted.get(&instance) == Some(&denial) {
            return false;
        }
        entries.withdraw(&instance.namespace, &instance.name, Some(&instance.id));
        entries.wanted.insert(instance, denial);
        true
    }

    /// Wants nothing of a server any more.
    pub(super) fn withdraw(&self, namespace: &str, name: &str) {
        self.entries().withdraw(namespace, name, None);
    }

    /// Another connection, perhaps to an empty Redis: everything is written again.
    pub(super) fn connected(&self) {
        let mut entries = self.entries();
        entries.written.clear();
        entries.refused.clear();
    }

    /// What Redis refused, and why.
    pub(super) fn refused(&self) -> BTreeMap<Instance, String> {
        let entries = self.entries();
        entries.refused.iter().map(|(name, refusal)| (name.clone(), refusal.reason.clone())).collect()
    }

    /// What is missing and is to be tried now. Asked once for all masters: of a Cluster's one alone holds the server's slot,
    /// and what another says must not stop it.
    pub(super) fn due(&self) -> Vec<(Instance, SealedDenial)> {
        let mut entries = self.entries();
        let last = entries.last.take();
        let (behind, before): (Vec<_>, Vec<_>) =
            entries.wanted.iter().partition(|(name, _)| last.as_ref().is_none_or(|last| *name > last));
        let due = behind.into_iter().chain(before).filter(|(name, denial)| entries.is_due(name, denial));
        let due: Vec<_> = due.take(TRIES).map(|(name, denial)| (name.clone(), denial.clone())).collect();
        entries.last = due.get(TRIES - 1).map(|(name, _)| name.clone());
        due
    }

    /// Whether there may be more than what was due, and it is worth going on at once: where nothing came of any, nothing
    /// will in this moment.
    pub(super) fn goes_on(&self, due: &[(Instance, SealedDenial)]) -> bool {
        let entries = self.entries();
        due.len() == TRIES && due.iter().any(|(name, denial)| !entries.is_due(name, denial))
    }

    /// Writes what is due, where no other master took it. What Redis refuses waits for the roll-out, or for the next try;
    /// what it would refuse for the same reason is not even asked for.
    ///
    /// # Errors
    /// When this master is away.
    pub(super) async fn write(
        &self,
        connection: &mut (impl ConnectionLike + Send),
        key_prefix: &str,
        due: &[(Instance, SealedDenial)],
    ) -> redis::RedisResult<()> {
        let script = redis::Script::new(WRITE);
        for (at, (instance, denial)) in due.iter().enumerate() {
            if self.entries().written.get(instance) == Some(denial) {
                continue;
            }
            let prefix = instance.prefix(key_prefix);
            let mut call = script.key(format!("{prefix}{}", denial::KEY));
            call.key(format!("{prefix}events")).arg(&denial.text).arg(&denial.mac);
            call.arg(u8::from(denial.is_empty)).arg(denial::EVENT).arg(LIFE).arg(EVENTS_KEPT);
            match call.invoke_async::<i64>(connection).await {
                Ok(_) => self.entries().took(instance, denial),
                Err(error) if error.is_io_error() || error.is_timeout() => return Err(error),
                // In a Cluster another master holds the server's slot, or will in a moment.
                Err(error) if is_elsewhere(&error) => {}
                Err(error) => {
                    tracing::warn!(%instance, %error, "access.deny waits for the roll-out");
                    let (reason, mut entries) = (describe(&error, Role::Master), self.entries());
                    if !refuses_all(&error) {
                        entries.refuse(&due[at], &reason);
                        continue;
                    }
                    for one in &due[at..] {
                        if entries.written.get(&one.0) != Some(&one.1) {
                            entries.refuse(one, &reason);
                        }
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a master would refuse every denial like this one: for a right or for memory that is missing. What else it
/// says may be about the keys of one server, which their tenant can write.
fn refuses_all(error: &redis::RedisError) -> bool {
    let text = error.to_string();
    // In a script a missing right is told without a code: since Redis 7.2 in the second words.
    let in_script = ["can't run this command", "ACL failure in script"];
    matches!(error.code(), Some("NOPERM" | "OOM")) || in_script.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Node, *};

    const TAKES: &str = ":1\r\n";
    const MAY_NOT: &str = "-NOPERM User gatehouse has no permissions to run the 'evalsha' command\r\n";
    const ELSEWHERE: &str = "-MOVED 1 10.0.0.2:6379\r\n";

    fn denial(text: &str) -> SealedDenial {
        SealedDenial { text: text.to_owned(), mac: String::new(), is_empty: false }
    }

    fn instance() -> Instance {
        Instance { namespace: "team-a".into(), name: "github".into(), id: "0123456789abcdef".into() }
    }

    /// One beat, with these masters; how often they were asked, and whether the next follows at once.
    async fn beat(denials: &Denials, masters: &[&'static str]) -> (usize, bool) {
        let (due, mut asked) = (denials.due(), 0);
        for answer in masters {
            let mut master = Node(|_: &[u8]| {
                asked += 1;
                *answer
            });
            denials.write(&mut master, "gatehouse", &due).await.unwrap();
        }
        (asked, denials.goes_on(&due))
    }

    /// The denials of so many servers.
    fn many(servers: usize) -> Denials {
        let denials = Denials::default();
        for n in 0..servers {
            denials.set(Instance { name: format!("s{n}"), ..instance() }, denial("a"));
        }
        denials
    }

    #[tokio::test]
    async fn a_reason_that_holds_for_all_is_asked_for_once_a_beat() {
        let script = "-ERR The user executing the script can't run this command or subcommand script: x\r\n";
        let oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
        for reason in [MAY_NOT, oom, script] {
            let denials = many(100);
            assert_eq!(beat(&denials, &[reason]).await, (1, false), "{reason}");
            assert_eq!(denials.refused().len(), 100, "each says so");
            assert!(denials.due().is_empty());
        }
        // In a Cluster each master is asked for itself, and what one took the other does not refuse.
        let denials = many(100);
        assert_eq!(beat(&denials, &[TAKES, MAY_NOT]).await, (100, false));
        assert!(denials.refused().is_empty());
        let denials = many(100);
        let keys = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";
        assert_eq!(beat(&denials, &[keys]).await, (100, false), "a tenant's own keys stop nobody else");
    }

    #[tokio::test]
    async fn one_beat_tries_so_many_and_the_next_goes_on_behind_them() {
        let denials = many(TRIES + 10);
        assert_eq!(beat(&denials, &[TAKES]).await, (TRIES, true));
        assert_eq!(beat(&denials, &[TAKES]).await, (10, false));
        assert!(denials.due().is_empty());
        let denials = many(TRIES + 10);
        assert_eq!(beat(&denials, &[ELSEWHERE]).await, (TRIES, false), "not again and again without a pause");
        let first = denials.due();
        assert_eq!(first.len(), TRIES);
        assert!(
            denials.entries().wanted.keys().rev().take(10).all(|name| first.iter().any(|d| d.0 == *name))
        );
    }

    #[tokio::test]
    async fn what_is_refused_is_told_and_is_not_taken_for_written() {
        let denials = Denials::default();
        denials.set(instance(), denial("a"));
        beat(&denials, &[MAY_NOT]).await;
        assert!(denials.refused()[&instance()].contains("may not do this"));
        assert!(denials.due().is_empty(), "not at every beat");
        denials.set(instance(), denial("b"));
        assert_eq!(denials.due().len(), 1, "but what is new at once");
        denials.entries().refused.get_mut(&instance()).unwrap().denial = denial("b");
        assert!(denials.due().is_empty());
        let long_ago = Instant::now().checked_sub(AGAIN).unwrap();
        denials.entries().refused.get_mut(&instance()).unwrap().at = long_ago;
        beat(&denials, &[TAKES]).await;
        assert!(denials.refused().is_empty() && denials.due().is_empty());
    }

    #[tokio::test]
    async fn of_a_server_that_went_nothing_is_kept() {
        let all = |denials: &Denials| {
            let entries = denials.entries();
            let names =
                [entries.wanted.keys(), entries.written.keys()].map(|k| k.cloned().collect::<Vec<_>>());
            (names, entries.refused.keys().cloned().collect::<Vec<_>>())
        };
        let others = [
            Instance { namespace: "team".into(), ..instance() },
            Instance { name: "git".into(), ..instance() },
            Instance { name: "github-2".into(), ..instance() },
        ];
        let denials = Denials::default();
        for one in others.iter().chain([&instance()]) {
            denials.set(one.clone(), denial("a"));
        }
        assert_eq!(beat(&denials, &[TAKES]).await, (4, false));
        denials.set(instance(), denial("b"));
        beat(&denials, &[MAY_NOT]).await;
        assert_eq!(all(&denials).1, [instance()]);
        denials.withdraw("team-a", "github");
        let mut rest = others.to_vec();
        rest.sort();
        assert_eq!(all(&denials), ([rest.clone(), rest], Vec::new()));

        // With other keys it is another's: nobody is left who reads the old one.
        let anew = Instance { id: "f".into(), ..instance() };
        let denials = Denials::default();
        denials.set(instance(), denial("a"));
        beat(&denials, &[TAKES]).await;
        denials.set(anew.clone(), denial("a"));
        assert_eq!(all(&denials), ([vec![anew], Vec::new()], Vec::new()));

        for answer in [TAKES, MAY_NOT, "-WRONGTYPE x\r\n"] {
            let denials = Denials::default();
            denials.set(instance(), denial("a"));
            let due = denials.due();
            denials.withdraw("team-a", "github");
            denials.write(&mut Node(|_: &[u8]| answer), "gatehouse", &due).await.unwrap();
            assert_eq!(all(&denials), (Default::default(), Vec::new()), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_master_that_refuses_stops_no_other() {
        for others in [[MAY_NOT, TAKES], [ELSEWHERE, TAKES], [TAKES, ELSEWHERE], [TAKES, MAY_NOT]] {
            let denials = Denials::default();
            denials.set(instance(), denial("a"));
            beat(&denials, &others).await;
            assert!(denials.refused().is_empty() && denials.due().is_empty(), "{others:?}");
        }
        let denials = Denials::default();
        denials.set(instance(), denial("a"));
        beat(&denials, &[ELSEWHERE, ELSEWHERE]).await;
        assert_eq!(denials.due().len(), 1, "in a moment somebody holds the slot");
    }
}
