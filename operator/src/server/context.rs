//! What all passes share: the caches, the client, and a few words of memory about each server.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kube::{
    Client, Resource, ResourceExt,
    api::ObjectMeta,
    runtime::{
        events::{Recorder, Reporter},
        reflector::ObjectRef,
    },
};
use tokio::time::Instant;

use super::{
    backends::Backends,
    children::Children,
    controller::name_of,
    fetch::{Policies, ServerName},
    guarded::GuardedServer,
    peers::{Claim, Peers},
    rollouts::{End, Rollouts, Turn},
    scope::Scope,
    status::written::Written,
};
use crate::{
    clock::{Clock, Entropy},
    config::OperatorConfig,
    crd::{McpServer, McpServerStatus},
    metrics::Metrics,
    policy,
    redis_users::Redis,
};

/// The first pause after a failure; it doubles.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// See [`Context::deadline`].
const DEADLINE: Duration = Duration::from_secs(60);
/// The first pause after a refusal, which seldom is mended within seconds; it doubles too.
const FIRST_REFUSED: Duration = Duration::from_secs(15);
/// The longest pause after a failure.
const LAST_RETRY: Duration = Duration::from_secs(300);

/// What is remembered of a server between two passes.
#[derive(Debug, Clone, Default)]
struct Memory {
    /// Failures in a row.
    failures: u32,
    /// Refusals by the API server in a row.
    refusals: u32,
    /// The generation in which something is missing of which nothing tells, and since when.
    unresolved: Option<(i64, Instant)>,
    /// The status that was written last.
    written: Written<McpServerStatus>,
    /// The Redis user that is kept for it.
    redis_user: Option<String>,
}

/// What all passes share.
#[expect(missing_debug_implementations, reason = "kube's client has none")]
pub struct Context {
    /// The client; its writes are fenced.
    pub client: Client,
    /// The operator's configuration.
    pub config: OperatorConfig,
    /// The watch scopes.
    pub scopes: Vec<Scope>,
    /// The children.
    pub children: Children,
    /// The servers by host.
    pub peers: Peers,
    /// The servers by the Services that they name.
    pub backends: Backends,
    /// Redis.
    pub redis: Redis,
    /// The metrics.
    pub metrics: Metrics,
    /// The one recorder of events; it folds repeats.
    pub recorder: Recorder,
    /// The wall clock.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// How long one pass over a server may take: kube's client has no read timeout, and its retries may last minutes.
    pub deadline: Duration,
    /// What is remembered of the policies.
    pub policies: policy::Memory,
    memory: Mutex<HashMap<ServerName, Memory>>,
    rollouts: Mutex<Rollouts>,
}

impl Context {
    /// A context without memory.
    pub fn new(
        client: Client,
        config: OperatorConfig,
        scopes: Vec<Scope>,
        redis: Redis,
        metrics: Metrics,
        instance: &str,
    ) -> Self {
        let reporter =
            Reporter { controller: "gatehouse.dev/operator".to_owned(), instance: Some(instance.to_owned()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            rollouts: Mutex::new(Rollouts::new(config.watch.namespaces.len() == 1)),
            config,
            scopes,
            children: Children::default(),
            peers: Peers::default(),
            backends: Backends::default(),
            redis,
            metrics,
            clock: Clock::system(),
            entropy: Entropy::system(),
            deadline: DEADLINE,
            policies: policy::Memory::default(),
            memory: Mutex::default(),
        }
    }

    /// A server as the cache has it.
    pub fn server(&self, name: &ServerName) -> Option<Arc<GuardedServer>> {
        let key = ObjectRef::new(&name.name).within(&name.namespace);
        self.scopes.iter().find_map(|scope| scope.servers.get(&key))
    }

    /// What the other servers of a host claim, those that cannot be read included.
    pub fn rivals(&self, host: &str, server: &ServerName) -> Vec<Claim> {
        let others = self.peers.on_host(host, server);
        others.iter().filter_map(|rival| Some(Claim::of_guarded(&*self.server(rival)?))).collect()
    }

    /// The servers of a namespace.
    pub fn servers_of(&self, namespace: &str) -> Vec<McpServer> {
        let all = self.scopes.iter().flat_map(|scope| scope.servers.state());
        all.filter(|s| s.namespace().as_deref() == Some(namespace)).filter_map(|s| s.0.clone().ok()).collect()
    }

    /// The policies of a namespace: those that can be read, and those that cannot.
    pub fn policies_of(&self, namespace: &str) -> Policies {
        let all = self.scopes.iter().flat_map(|scope| scope.policies.state());
        let mut found = Policies::default();
        for policy in all.filter(|p| p.namespace().as_deref() == Some(namespace)) {
            match &policy.0 {
                Ok(policy) => found.readable.push(policy.clone()),
                Err(unreadable) => found.unreadable.push(unreadable.clone()),
            }
        }
        found
    }

    /// Asks for a look at a server.
    pub fn enqueue(&self, server: &ServerName) {
        let object = ObjectRef::new(&server.name).within(&server.namespace);
        self.queues(&server.namespace).for_each(|scope| scope.server_queue.push(object.clone()));
    }

    /// Asks for a look at every server.
    pub fn enqueue_all(&self) {
        for scope in &self.scopes {
            scope.servers.state().iter().for_each(|s| scope.server_queue.push(ObjectRef::from_obj(&**s)));
        }
    }

    /// Asks for a look at every policy.
    pub fn enqueue_all_policies(&self) {
        for scope in &self.scopes {
            scope.policies.state().iter().for_each(|p| scope.policy_queue.push(ObjectRef::from_obj(&**p)));
        }
    }

    /// Asks for a look at every server of a namespace.
    pub fn enqueue_servers_of(&self, namespace: &str) {
        for scope in self.queues(namespace) {
            for server in scope.servers.state().iter().filter(|s| s.namespace().as_deref() == Some(namespace))
            {
                scope.server_queue.push(ObjectRef::from_obj(&**server));
            }
        }
    }

    /// Asks for a look at every policy of a namespace.
    pub fn enqueue_policies_of(&self, namespace: &str) {
        for scope in self.queues(namespace) {
            for policy in
                scope.policies.state().iter().filter(|p| p.namespace().as_deref() == Some(namespace))
            {
                scope.policy_queue.push(ObjectRef::from_obj(&**policy));
            }
        }
    }

    fn queues(&self, namespace: &str) -> impl Iterator<Item = &Scope> {
        self.scopes.iter().filter(move |scope| scope.covers(namespace))
    }

    /// The status as it is now: the cached one, or the one that was written since.
    pub fn current_status(&self, server: &ServerName, cached: &GuardedServer) -> Option<McpServerStatus> {
        self.remember(server, |memory| memory.written.or_cached(cached.meta(), cached.status()))
    }

    /// Notes what was written of a server, and the version that it made.
    pub fn wrote_status(
        &self,
        server: &ServerName,
        meta: &ObjectMeta,
        version: u64,
        status: McpServerStatus,
    ) {
        self.remember(server, |memory| memory.written.note(meta, version, status));
    }

    /// A list of the servers of a scope begins.
    pub fn list_begins(&self, scope: &Scope) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let here = memory.iter_mut().filter(|(server, _)| scope.covers(&server.namespace));
        here.for_each(|(_, memory)| memory.written.list_begins());
    }

    /// It is complete, and the cache has it. Asks for a look at each server that has another status than the one written
    /// last.
    pub fn list_ends(&self, scope: &Scope) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for (server, memory) in memory.iter_mut().filter(|(server, _)| scope.covers(&server.namespace)) {
            let object = ObjectRef::new(&server.name).within(&server.namespace);
            let cached = scope.servers.get(&object);
            if memory.written.list_ends(cached.as_ref().and_then(|server| server.status())) {
                scope.server_queue.push(object);
            }
        }
    }

    /// The pause before the next attempt after a failure.
    pub fn failed(&self, server: &ServerName) -> Duration {
        let failures = self.remember(server, |memory| {
            memory.failures = memory.failures.saturating_add(1);
            memory.failures
        });
        backoff(failures, self.entropy.fraction())
    }

    /// Whether the pass before this one failed.
    pub fn has_failed(&self, server: &ServerName) -> bool {
        self.remember(server, |memory| memory.failures > 0)
    }

    /// Notes that a pass went through.
    pub fn succeeded(&self, server: &ServerName) {
        self.remember(server, |memory| memory.failures = 0);
    }

    /// The pause before the next attempt after the API server refused something for good, as far as it knows.
    pub fn refused(&self, server: &ServerName) -> Duration {
        let refusals = self.remember(server, |memory| {
            memory.refusals = memory.refusals.saturating_add(1);
            memory.refusals
        });
        doubled(FIRST_REFUSED, refusals, self.entropy.fraction())
    }

    /// Notes that nothing was refused.
    pub fn admitted(&self, server: &ServerName) {
        self.remember(server, |memory| memory.refusals = 0);
    }

    /// For how long something has been missing of which nothing tells, since the server was edited last.
    pub fn unresolved(&self, server: &ServerName, generation: i64, now: Instant) -> Duration {
        let (_, since) = self.remember(server, |memory| {
            let known = memory.unresolved.filter(|(of, _)| *of == generation);
            *memory.unresolved.insert(known.unwrap_or((generation, now)))
        });
        now.saturating_duration_since(since)
    }

    /// Notes that nothing is missing.
    pub fn resolved(&self, server: &ServerName) {
        self.remember(server, |memory| memory.unresolved = None);
    }

    /// Notes the Redis user of a server, and ends the one of an earlier instance. What kept a pass from having one says
    /// nothing of the one that the pods use.
    pub fn uses_redis_user(&self, server: &ServerName, user: &str) {
        let old = self.remember(server, |memory| memory.redis_user.replace(user.to_owned()));
        if let Some(old) = old.filter(|old| old != user) {
            self.redis.forget(&old);
        }
    }

    /// Whether a roll-out of this server may begin that the operator itself causes, and which finds it well or not.
    pub fn may_roll(&self, server: &ServerName, is_well: bool) -> Turn {
        self.rollouts().ask(server, is_well, self.places(), Instant::now())
    }

    /// Notes that nothing rolls a server: it waits for no turn.
    pub fn waits_no_more(&self, server: &ServerName) {
        self.rollouts().withdraw(server);
    }

    /// Notes that an edit rolls a server, which waits for no turn.
    pub fn edited(&self, server: &ServerName) {
        self.rollouts().edit(server);
    }

    /// Notes that a server holds up no other: its roll-out is over, or it has none. Asks for a look at those whose turn
    /// it is. Gives those on which the operator's change failed, when that stops all others with this one.
    pub fn rolled(&self, server: &ServerName, end: End) -> Option<Vec<ServerName>> {
        let mut rollouts = self.rollouts();
        let freed = rollouts.free(server, end, self.places(), Instant::now());
        self.metrics.rollouts_stopped(rollouts.is_stopped());
        drop(rollouts);
        for server in &freed.look_at {
            self.enqueue(server);
        }
        freed.stopped_by
    }

    /// Whether what the operator changed failed on a server.
    pub fn failed_on_our_account(&self, server: &ServerName) -> bool {
        self.rollouts().has_failed(server)
    }

    /// Learns from the servers' status on which of them the operator's defaults, as they are now, failed before this
    /// process led.
    pub fn recall_rollouts(&self) {
        let defaults = Some(self.config.defaults_hash());
        let mut rollouts = self.rollouts();
        for server in self.scopes.iter().flat_map(|scope| scope.servers.state()) {
            if server.status().is_some_and(|status| status.failed_defaults == defaults) {
                rollouts.recall(name_of(&server));
            }
        }
        self.metrics.rollouts_stopped(rollouts.is_stopped());
    }

    fn rollouts(&self) -> MutexGuard<'_, Rollouts> {
        self.rollouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> usize {
        usize::try_from(self.config.rollouts.max_concurrent.max(1)).unwrap_or(usize::MAX)
    }

    /// Undoes what a pass noted of a server that went while the pass ran: when the watch told, there was nothing to forget
    /// yet. Where a server may also have left the label selector, its Redis user is left to the sweep.
    pub fn tidy(&self, server: &ServerName) {
        if self.server(server).is_some() {
            return;
        }
        match self.forget(server) {
            Some(user) if self.config.watch.label_selector.is_none() => self.redis.forget(&user),
            Some(user) => self.redis.release(&user),
            None => {}
        }
    }

    /// Forgets a server that is gone. Gives the Redis user that was kept for it.
    pub fn forget(&self, server: &ServerName) -> Option<String> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(server);
        self.rolled(server, End::Gone);
        self.backends.names(server, BTreeSet::new());
        self.redis.withdraw_denial(&server.namespace, &server.name);
        self.metrics.server(&server.to_string(), None);
        memory.and_then(|memory| memory.redis_user)
    }

    /// Whether anything is remembered of a server.
    #[cfg(test)]
    pub(crate) fn remembers(&self, server: &ServerName) -> bool {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).contains_key(server)
    }

    fn remember<T>(&self, server: &ServerName, f: impl FnOnce(&mut Memory) -> T) -> T {
        f(self.memory.lock().unwrap_or_else(PoisonError::into_inner).entry(server.clone()).or_default())
    }
}

/// The pause after so many failures in a row.
pub fn backoff(failures: u32, fraction: f64) -> Duration {
    doubled(FIRST_RETRY, failures, fraction)
}

/// A pause that is doubled each time, and spread so that a common cause does not bring everyone back at once.
fn doubled(first: Duration, times: u32, fraction: f64) -> Duration {
    let doubled = first.saturating_mul(2u32.saturating_pow(times.saturating_sub(1).min(16)));
    doubled.min(LAST_RETRY).mul_f64(0.5 + fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use gatehouse_gateway_config::denial::SealedDenial;

    use super::*;
    use crate::{
        redis_users::{Instance, User},
        testing,
    };

    #[test]
    fn pauses_double_up_to_five_minutes_and_are_spread() {
        assert_eq!(backoff(1, 0.0), Duration::from_millis(500));
        assert_eq!(backoff(2, 0.0), Duration::from_secs(1));
        assert_eq!(backoff(40, 0.0), Duration::from_secs(150));
        assert!(backoff(40, 0.999) <= LAST_RETRY);
    }

    #[tokio::test]
    async fn what_is_missing_is_missing_since_the_last_edit() {
        let (scope, ..) = testing::scope();
        let context = testing::context(testing::client(|_| None), OperatorConfig::offline(), &scope);
        let server = ServerName { namespace: "a".to_owned(), name: "s".to_owned() };
        let begin = Instant::now();
        let missing = |generation, seconds| {
            context.unresolved(&server, generation, begin + Duration::from_secs(seconds)).as_secs()
        };
        assert_eq!([missing(1, 0), missing(1, 15), missing(1, 700)], [0, 15, 700]);
        assert_eq!([missing(2, 701), missing(2, 710)], [0, 9], "another Secret may be named");
        context.resolved(&server);
        assert_eq!(missing(2, 800), 0);
    }

    #[tokio::test]
    async fn what_is_refused_again_and_again_is_asked_for_less_and_less() {
        let (scope, ..) = testing::scope();
        let client = testing::client(|_| None);
        let context = testing::context(client, OperatorConfig::offline(), &scope);
        let server = ServerName { namespace: "a".to_owned(), name: "s".to_owned() };
        assert!(context.refused(&server) <= FIRST_REFUSED);
        for _ in 0..10 {
            context.refused(&server);
        }
        assert!(context.refused(&server) >= LAST_RETRY / 2);
        context.admitted(&server);
        assert!(context.refused(&server) <= FIRST_REFUSED);
    }

    #[tokio::test]
    async fn a_pass_that_outlived_its_server_leaves_nothing_for_redis() {
        let (scope, ..) = testing::scope();
        let context = testing::context(testing::client(|_| None), OperatorConfig::offline(), &scope);
        let server = ServerName { namespace: "a".to_owned(), name: "s".to_owned() };
        let wanted = || context.redis.wanted();
        let instance = Instance { namespace: "a".into(), name: "s".into(), id: "0".into() };
        context
            .redis
            .deny(instance.clone(), SealedDenial { text: String::new(), mac: String::new(), is_empty: true });
        assert_eq!(context.redis.denied(), [instance]);
        context.redis.want(User::new("gone", "password", "prefix"));
        context.uses_redis_user(&server, "gone");
        assert_eq!(wanted(), ["gone"]);
        context.tidy(&server);
        assert!(wanted().is_empty() && context.redis.denied().is_empty(), "no watch tells of it again");
    }
}
