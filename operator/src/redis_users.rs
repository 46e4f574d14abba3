//! Redis as the operator uses it: one ACL user for each server, and a look at settings that would lose data.
//!
//! One task holds a connection to every node, replicas too, and looks for new ones at each beat. It sets every user
//! again after each connect, because `ACL SETUSER` does not replicate and dies with a restart. Nothing waits for it: a Redis that is away is a condition of each server, and
//! never stops a reconcile.

mod acl;
mod denials;
mod fleet;
mod index;
pub(crate) mod info;
mod isolation;
mod login;
mod state;
pub mod sweep;
#[cfg(test)]
mod testing;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use gatehouse_gateway_config::denial::SealedDenial;
use gatehouse_redis::Role;
use redis::aio::ConnectionLike;
use tokio::sync::{Notify, watch};

pub use self::{
    acl::User,
    index::Instance,
    isolation::Isolation,
    login::{RedisConfigError, login, operator_login},
    state::{Concerned, RedisState, Told},
};
use self::{
    acl::Version,
    denials::Denials,
    fleet::{Fleet, Node},
    index::Index,
    info::{Warning, describe, is_elsewhere},
    isolation::Door,
};
use crate::{
    config::{RedisSettings, RedisUsers},
    metrics::Metrics,
};

/// How long Redis may take to connect or answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often the connection is tried, and looked at; and the operator's own files.
pub const BEAT: Duration = Duration::from_secs(5);

/// The users that shall be, and the state of Redis. Clones share both.
#[derive(Debug, Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    wanted: Mutex<BTreeMap<String, User>>,
    unwanted: Mutex<BTreeSet<String>>,
    index: Index,
    denials: Denials,
    changed: Notify,
    state: watch::Sender<RedisState>,
}

impl Default for Redis {
    fn default() -> Self {
        let state =
            RedisState { failure: Some("Redis was not tried yet".to_owned()), ..RedisState::default() };
        let inner = Inner {
            wanted: Mutex::default(),
            unwanted: Mutex::default(),
            index: Index::default(),
            denials: Denials::default(),
            changed: Notify::new(),
            state: watch::Sender::new(state),
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Redis {
    /// Asks for a user; the task does it when it can.
    pub fn want(&self, user: User) {
        let mut wanted = self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.get(&user.name) == Some(&user) {
            return;
        }
        self.inner.unwanted.lock().unwrap_or_else(PoisonError::into_inner).remove(&user.name);
        // A new password is not in force yet.
        self.inner.state.send_if_modified(|state| state.users.remove(&user.name));
        wanted.insert(user.name.clone(), user);
        drop(wanted);
        self.inner.changed.notify_one();
    }

    /// Asks for an entry in the index of instances.
    pub fn index(&self, instance: Instance) {
        if self.inner.index.add(instance) {
            self.inner.changed.notify_one();
        }
    }

    /// Asks for a denial to be told to the gateways that run.
    pub fn deny(&self, instance: Instance, denial: SealedDenial) {
        if self.inner.denials.set(instance, denial) {
            self.inner.changed.notify_one();
        }
    }

    /// Asks no more for a denial of a server that is gone.
    pub fn withdraw_denial(&self, namespace: &str, name: &str) {
        self.inner.denials.withdraw(namespace, name);
    }

    /// Asks for a user's end.
    pub fn forget(&self, name: &str) {
        let was = self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        if was.is_some() {
            self.inner.unwanted.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
            self.inner.changed.notify_one();
        }
    }

    /// Keeps a user no longer, without ending it: somebody else may.
    pub fn release(&self, name: &str) {
        self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// The names of the users that shall be.
    #[cfg(test)]
    pub(crate) fn wanted(&self) -> Vec<String> {
        self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whose denials shall be told.
    #[cfg(test)]
    pub(crate) fn denied(&self) -> Vec<Instance> {
        self.inner.denials.due().into_iter().map(|(instance, _)| instance).collect()
    }

    /// Looks at the state.
    pub fn state<T>(&self, look: impl FnOnce(&RedisState) -> T) -> T {
        look(&self.inner.state.borrow())
    }

    /// What servers can be told of it now.
    pub fn told(&self) -> Told {
        self.state(Told::of)
    }

    /// Waits until there is something else to tell than was `told`, which it becomes; whom that concerns. A tenant can
    /// make its own denials come and go, and wakes nobody else by it.
    pub async fn changed(&self, told: &mut Told) -> Concerned {
        let mut states = self.inner.state.subscribe();
        // The sender lives as long as this value.
        let _ = states.wait_for(|state| Told::of(state) != *told).await;
        let before = std::mem::replace(told, self.told());
        before.concerns(told)
    }

    /// Waits, at most `limit`, until a user is in force or Redis turned out not to work.
    pub async fn settled(&self, name: &str, limit: Duration) {
        let mut states = self.inner.state.subscribe();
        let settled = states.wait_for(|state| {
            state.failure.is_some() || state.users.contains(name) || state.refused.contains_key(name)
        });
        // Running out of time is an answer too: the state is read afterwards.
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// Keeps the users in force until the future is dropped.
    pub async fn run(self, settings: RedisSettings, metrics: Metrics) {
        loop {
            let failure = match self.hold(&settings, &metrics).await {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            tracing::warn!(url = settings.url(), failure, "redis cannot be used");
            metrics.redis(false, 0);
            let message = format!("Redis at {} cannot be used: {failure}", settings.url());
            self.inner.state.send_if_modified(|state| {
                let next = RedisState { failure: Some(message), ..RedisState::default() };
                let changed = *state != next;
                *state = next;
                changed
            });
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Looks after every node, until there is no master that can be used.
    async fn hold(
        &self,
        settings: &RedisSettings,
        metrics: &Metrics,
    ) -> Result<std::convert::Infallible, String> {
        let mut fleet = Fleet::default();
        loop {
            let changed = self.inner.changed.notified();
            let mut warnings = fleet.meet(settings).await?;
            if settings.users == RedisUsers::Managed {
                self.bring_into_force(&mut fleet).await;
            }
            if fleet.renewed() {
                // Another node, perhaps an empty one, has it all from now on.
                self.inner.index.connected();
                self.inner.denials.connected();
            }
            warnings.extend(self.write_index(&mut fleet, settings).await?);
            let due = self.inner.denials.due();
            for node in fleet.masters() {
                let written =
                    self.inner.denials.write(&mut node.connection, &settings.key_prefix, &due).await;
                // The node is met again at the next beat, or another in its place.
                written.unwrap_or_else(|error| tracing::warn!(%error, "access.deny could not be written"));
            }
            let users = self.inner.state.borrow().users.len();
            metrics.redis(true, users);
            let wanted = self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner).len();
            warnings.extend(fleet.warnings(wanted));
            self.publish(warnings, fleet.door());
            if self.inner.denials.goes_on(&due) {
                continue;
            }
            let _ = tokio::time::timeout(BEAT, changed).await;
        }
    }

    /// Gives what is to be said when Redis refuses it; it is tried again at the next beat.
    async fn write_index(
        &self,
        fleet: &mut Fleet,
        settings: &RedisSettings,
    ) -> Result<Option<Warning>, String> {
        let (connection, new) = fleet.index(settings).await?;
        if new {
            self.inner.index.connected();
        }
        let Err(error) = self.inner.index.write(connection, &settings.key_prefix).await else {
            return Ok(None);
        };
        fleet.index_moved();
        let reason = describe(&error, Role::Master);
        if error.is_io_error() || error.is_timeout() {
            return Err(reason);
        }
        let refused = !is_elsewhere(&error);
        Ok(refused.then(|| Warning {
            about: "index".to_owned(),
            text: format!(
                "Redis refused the index of servers: {reason}; what deleted ones leave is not erased"
            ),
        }))
    }

    /// Tells every node. One that does not answer any more is told when it is met again.
    async fn bring_into_force(&self, fleet: &mut Fleet) {
        let unwanted =
            std::mem::take(&mut *self.inner.unwanted.lock().unwrap_or_else(PoisonError::into_inner));
        let wanted = self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told = fleet.nodes.values_mut().map(|node| tell(node, &unwanted, &wanted));
        let refused: BTreeMap<String, String> = join_all(told).await.into_iter().flatten().collect();
        self.inner.state.send_if_modified(|state| {
            let users = wanted.keys().filter(|name| !refused.contains_key(*name)).cloned().collect();
            let changed = state.failure.is_some() || state.users != users || state.refused != refused;
            (state.failure, state.users, state.refused) = (None, users, refused);
            changed
        });
    }

    fn publish(&self, warnings: Vec<Warning>, door: Door) {
        let (warned_of, warnings) = warnings.into_iter().map(|w| (w.about, w.text)).unzip();
        let denials = self.inner.denials.refused();
        self.inner.state.send_if_modified(|state| {
            let next = RedisState { failure: None, warnings, warned_of, door, denials, ..state.clone() };
            let changed = *state != next;
            *state = next;
            changed
        });
    }
}

/// Deletes and sets users at one node; what it refused, and why.
async fn tell(
    node: &mut Node,
    unwanted: &BTreeSet<String>,
    wanted: &BTreeMap<String, User>,
) -> BTreeMap<String, String> {
    let mut refused = BTreeMap::new();
    for name in unwanted {
        node.done.remove(name);
        // A node that is away forgets it by its restart, or at the sweep.
        let _ = redis::cmd("ACL").arg("DELUSER").arg(name).query_async::<i64>(&mut node.connection).await;
    }
    let missing = wanted.iter().filter(|(name, user)| node.done.get(*name) != Some(user));
    let missing: Vec<&User> = missing.map(|(_, user)| user).collect();
    let is = (node.role, node.info.version);
    let set = set_all(&mut node.connection, &missing, is, &mut node.knows_clusterscan).await;
    let set = missing.iter().zip(set);
    for (user, answer) in set {
        match answer {
            Ok(()) => drop(node.done.insert(user.name.clone(), User::clone(user))),
            Err(reason) => drop(refused.insert(user.name.clone(), reason)),
        }
    }
    refused
}

/// Sets users at one node; what came of each. Once it does not answer any more it is asked no further, and who comes later
/// is in force as little as the one that it did not answer of.
async fn set_all(
    connection: &mut (impl ConnectionLike + Send),
    users: &[&User],
    (role, version): (Role, Version),
    knows_clusterscan: &mut bool,
) -> Vec<Result<(), String>> {
    let (mut answers, mut away) = (Vec::new(), None);
    for user in users {
        if let Some(reason) = &away {
            answers.push(Err(String::clone(reason)));
            continue;
        }
        let answer = acl::set(connection, user, (role, version), knows_clusterscan).await;
        answers.push(answer.map_err(|error| {
            let reason = describe(&error, role);
            away = (error.is_io_error() || error.is_timeout()).then(|| reason.clone());
            reason
        }));
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::{testing::Node, *};

    #[tokio::test]
    async fn who_comes_after_the_last_answer_is_not_in_force() {
        let users = ["a", "b", "c", "d"].map(|name| User::new(name, "p", "p:"));
        let users: Vec<&User> = users.iter().collect();
        let mut asked = 0;
        let mut node = Node(|_: &[u8]| {
            asked += 1;
            // Nothing at all: the connection broke off.
            if asked > 2 { "" } else { "+OK\r\n" }
        });
        let set = set_all(&mut node, &users, (Role::Master, (7, 0)), &mut true).await;
        assert_eq!(set.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, false]);
        assert_eq!((asked, &set[3]), (3, &set[2]), "nobody waits for it once for each user");

        let mut refuses = Node(|sent: &[u8]| {
            let is_b = sent.windows(3).any(|part| part == b"\nb\r");
            if is_b { "-ERR not this one\r\n" } else { "+OK\r\n" }
        });
        let set = set_all(&mut refuses, &users, (Role::Master, (7, 0)), &mut true).await;
        assert_eq!(set.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    }

    #[tokio::test]
    async fn only_another_kind_of_trouble_is_news_to_every_server() {
        let redis = Redis::default();
        let fails = |text: &str| {
            let next = RedisState { failure: Some(text.to_owned()), ..RedisState::default() };
            redis.inner.state.send_replace(next);
        };
        let warns = |text: &str| {
            let warning = Warning { about: "10.0.0.1:6379".to_owned(), text: text.to_owned() };
            redis.publish(vec![warning], Door::Closed);
        };
        let news = |change: &dyn Fn()| {
            let mut told = redis.told();
            let mut changed = std::pin::pin!(redis.changed(&mut told));
            let mut cx = Context::from_waker(Waker::noop());
            assert_eq!(changed.as_mut().poll(&mut cx), Poll::Pending);
            change();
            matches!(changed.as_mut().poll(&mut cx), Poll::Ready(Concerned::All))
        };
        fails("Redis at redis://r cannot be used: timed out");
        assert!(!news(&|| fails("Redis at redis://r cannot be used: connection refused")));
        assert!(news(&|| warns("cannot be used: timed out")), "it works again");
        assert!(!news(&|| warns("cannot be used: connection refused")));
        assert!(news(&|| redis.publish(Vec::new(), Door::Closed)));
        assert!(news(&|| redis.publish(Vec::new(), Door::Open)));
    }

    #[tokio::test]
    async fn a_refused_denial_is_news_to_its_own_server() {
        let redis = Redis::default();
        let of = |name: &str| Instance { namespace: "team-a".into(), name: name.into(), id: "0".into() };
        let refuses = |names: &[&str]| {
            let denials = names.iter().map(|name| (of(name), "it may not".to_owned())).collect();
            redis.inner.state.send_modify(|state| state.denials = denials);
        };
        refuses(&["a", "b"]);
        let mut told = redis.told();
        // What happens while nobody waits is told, too.
        refuses(&["b", "c"]);
        let concerned = redis.changed(&mut told).await;
        assert_eq!(concerned, Concerned::These([of("a"), of("c")].into()));
        redis.publish(Vec::new(), Door::Open);
        assert_eq!(redis.changed(&mut told).await, Concerned::All);
        assert_eq!(told, redis.told());
    }
}
