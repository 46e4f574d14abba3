//! The operator as a whole: watches, leadership, controllers, and their orderly end.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    runtime::{
        controller::{self, applier},
        reflector::{ObjectRef, store},
    },
};
use tokio::{
    net::TcpListener,
    sync::{mpsc::UnboundedReceiver, watch},
    task::JoinSet,
};

use crate::{
    admin::{self, Health},
    client,
    clock::Clock,
    config::{OperatorConfig, RedisUsers},
    lease::{Elector, Fence, Timing},
    metrics::Metrics,
    policy, redis_users,
    redis_users::{Concerned, Instance, Redis},
    server,
    server::{
        context::Context,
        fetch::ServerName,
        scope::{Queue, Scope},
    },
    watch as watches,
    work::Work,
};

/// How many servers are looked at at once: bounds connections and memory when thousands wait after a start.
const CONCURRENCY: u16 = 16;
/// How long running passes may go on at a stop.
const GRACE: Duration = Duration::from_secs(15);
/// A policy's status follows many servers: their changes within this time are one.
const FOLD: Duration = Duration::from_millis(200);

/// What the operator is run with.
#[derive(Debug)]
pub struct Options {
    /// How to reach the API server.
    pub kube: kube::Config,
    /// The operator's configuration.
    pub config: OperatorConfig,
    /// This process among the candidates for leadership: the pod's name.
    pub identity: String,
    /// Namespace and name of the lease; `None`: lead without one, for a single process.
    pub lease: Option<(String, String)>,
    /// How long things of the lease take.
    pub timing: Timing,
    /// Where health and metrics are served.
    pub admin: TcpListener,
    /// The metrics.
    pub metrics: Metrics,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The client cannot be made.
    #[error("the Kubernetes client cannot be made: {0}")]
    Client(#[from] kube::Error),
    /// Redis cannot be configured.
    #[error(transparent)]
    Redis(#[from] redis_users::RedisConfigError),
    /// Another process may lead now; this one must not go on.
    #[error("lost the lease; another process may lead now")]
    LostLease,
    /// A part of the operator ended that never should.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// Runs the operator until `stop` is done, then ends in order: passes finish, the lease is given back.
///
/// # Errors
/// See [`RunError`].
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    // A configuration that cannot work is told before anything begins.
    if options.config.redis.users != RedisUsers::Provided {
        redis_users::login(&options.config.redis)?;
        options.config.redis.target().map_err(redis_users::RedisConfigError::from)?;
    }
    let metrics = options.metrics.clone();
    let (leading, mut leads) = watch::channel(false);
    let (stopping, stopped) = watch::channel(false);
    let elector = elector(&options)?;
    let fence = elector.as_ref().map_or_else(Fence::open, Elector::fence);
    let client = client::build(options.kube.clone(), fence, metrics.clone())?;

    let namespaces = scopes(&options.config);
    let lists = namespaces.iter().flat_map(|n| watches::lists(n.as_deref())).collect();
    let redis = Redis::default();
    let mut writers = Vec::new();
    let scopes = namespaces.into_iter().map(|namespace| {
        let ((servers, server_writer), (policies, policy_writer)) = (store(), store());
        writers.push((server_writer, policy_writer));
        // What is asked for just after the wait is over may still be folded.
        let (server_queue, policy_queue) = (Queue::default(), Queue::folding(FOLD * 2));
        Scope { namespace, servers, policies, server_queue, policy_queue }
    });
    let scopes: Vec<Scope> = scopes.collect();
    let health = Health::waiting_for(lists).working(work(&scopes));
    let config = options.config.clone();
    let context =
        Arc::new(Context::new(client, config, scopes, redis.clone(), metrics.clone(), &options.identity));

    let mut parts = JoinSet::new();
    parts.spawn(ends("the heart", health.clone().beat()));
    let served = admin::serve(options.admin, health.clone(), metrics.clone());
    parts.spawn(ends("the admin port", async move { drop(served.await) }));
    for (scope, (servers, policies)) in context.scopes.clone().into_iter().zip(writers) {
        let watching = watches::run(context.clone(), scope, servers, policies, health.clone());
        parts.spawn(ends("the watches", watching));
    }
    if context.config.redis.users != RedisUsers::Provided {
        parts
            .spawn(ends("the Redis users", redis.clone().run(context.config.redis.clone(), metrics.clone())));
        parts.spawn(ends("the look at Redis", follow_redis(context.clone())));
        parts.spawn(ends("the look at the operator's login", follow_login(context.clone())));
    }
    let election = campaign(elector, &health, &leading, stopped);
    let work = async {
        let _ = leads.wait_for(|leads| *leads).await;
        tracing::info!(identity = options.identity, "leading");
        metrics.leads(true);
        tokio::select! {
            () = lead(context.clone()) => {}
            () = sweep(&context, options.lease.as_ref()) => {}
        }
    };
    metrics.leads(false);
    tokio::pin!(election, work, stop);
    tokio::select! {
        () = &mut election => return Err(RunError::LostLease),
        ended = parts.join_next() => return Err(RunError::Ended(ended.and_then(Result::ok).unwrap_or("a part"))),
        () = &mut work => return Err(RunError::Ended("the controllers")),
        () = &mut stop => {}
    }
    tracing::info!("stopping");
    context.scopes.iter().for_each(|scope| {
        scope.server_queue.close();
        scope.policy_queue.close();
    });
    // A standby has nothing to finish, and its `work` never ends.
    if metrics.is_leading() {
        finish(work, &mut election).await?;
    }
    stopping.send_replace(true);
    election.await;
    Ok(())
}

/// Leads when it is this process's turn, until it is told to stop. Who cannot list yet does not stand: it would lead and do
/// nothing, while a standby that could idles.
async fn campaign(
    elector: Option<Elector>,
    health: &Health,
    leading: &watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) {
    tokio::select! {
        () = health.until_ready() => {}
        _ = stop.wait_for(|stop| *stop) => return,
    }
    if let Some(elector) = elector {
        elector.run(leading, stop).await;
    } else {
        leading.send_replace(true);
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// Lets running passes end, and keeps the lease meanwhile: without it they could not write any more.
async fn finish(work: impl Future<Output = ()>, election: impl Future<Output = ()>) -> Result<(), RunError> {
    tokio::select! {
        // Passes that do not end in time are cut off, as by a crash.
        _ = tokio::time::timeout(GRACE, work) => Ok(()),
        () = election => Err(RunError::LostLease),
    }
}

fn elector(options: &Options) -> Result<Option<Elector>, kube::Error> {
    let Some((namespace, name)) = &options.lease else { return Ok(None) };
    // The lease has a client of its own: its writes must pass the fence that they open.
    let client = client::build(options.kube.clone(), Fence::open(), options.metrics.clone())?;
    let (identity, timing) = (&options.identity, options.timing);
    Ok(Some(Elector::new(client, namespace, name, identity, timing, Clock::system())))
}

fn scopes(config: &OperatorConfig) -> Vec<Option<String>> {
    if config.watch.namespaces.is_empty() {
        vec![None]
    } else {
        config.watch.namespaces.iter().cloned().map(Some).collect()
    }
}

async fn ends(what: &'static str, part: impl Future<Output = ()>) -> &'static str {
    part.await;
    what
}

/// When Redis comes or goes, every server says so; what it refuses of one, that one.
async fn follow_redis(context: Arc<Context>) {
    let mut told = context.redis.told();
    loop {
        match context.redis.changed(&mut told).await {
            Concerned::All => context.enqueue_all(),
            Concerned::These(instances) => {
                for Instance { namespace, name, .. } in instances {
                    context.enqueue(&ServerName { namespace, name });
                }
            }
        }
    }
}

/// When the operator's own Secrets and CA are replaced, every server's Secret is: it has a copy of the CA and the client
/// certificate, and with `Shared` of the login.
async fn follow_login(context: Arc<Context>) {
    let mut known = None;
    loop {
        // What cannot be read is said by the passes that need it.
        if let Ok(login) = redis_users::login(&context.config.redis)
            && known.replace(login.clone()).is_some_and(|before| before != login)
        {
            tracing::info!("the operator's login or its CA was replaced");
            context.enqueue_all();
        }
        tokio::time::sleep(redis_users::BEAT).await;
    }
}

/// What the controllers have to do.
fn work(scopes: &[Scope]) -> Vec<(&'static str, Work)> {
    let of = |scope: &Scope| {
        let (servers, policies) = (&scope.server_queue, &scope.policy_queue);
        [
            (server::controller::CONTROLLER, servers.work().clone()),
            (policy::controller::CONTROLLER, policies.work().clone()),
        ]
    };
    scopes.iter().flat_map(of).collect()
}

/// The controllers of all scopes, until their queues are closed, or one of them ends before that.
async fn lead(context: Arc<Context>) {
    context.recall_rollouts();
    let mut controllers = JoinSet::new();
    for scope in context.scopes.clone() {
        let (servers, policies) = (scope.server_queue.open(), scope.policy_queue.open());
        for server in scope.servers.state() {
            scope.server_queue.push(ObjectRef::from_obj(&*server));
        }
        for policy in scope.policies.state() {
            scope.policy_queue.push(ObjectRef::from_obj(&*policy));
        }
        let config = controller::Config::default().concurrency(CONCURRENCY);
        let (looks, work) = (scope.server_queue.work().clone(), scope.server_queue.work().clone());
        controllers.spawn(
            applier(
                move |server, context| {
                    Box::pin(looks.clone().look(server::controller::reconcile(server, context)))
                },
                server::controller::error_policy,
                context.clone(),
                scope.servers.clone(),
                requests(servers),
                config,
            )
            .for_each(move |_| {
                work.answered();
                std::future::ready(())
            }),
        );
        let config = controller::Config::default().concurrency(4).debounce(FOLD);
        let (looks, work) = (scope.policy_queue.work().clone(), scope.policy_queue.work().clone());
        controllers.spawn(
            applier(
                move |policy, context| {
                    Box::pin(looks.clone().look(policy::controller::reconcile(policy, context)))
                },
                policy::controller::error_policy,
                context.clone(),
                scope.policies.clone(),
                requests(policies),
                config,
            )
            .for_each(move |_| {
                work.answered();
                std::future::ready(())
            }),
        );
    }
    while controllers.join_next().await.is_some() {
        // At a stop all of them are closed. Else one has ended, or panicked, that nothing would do the work of.
        if context.scopes.iter().any(|scope| scope.server_queue.is_open() || scope.policy_queue.is_open()) {
            return;
        }
    }
}

/// Sweeps Redis, in the name of the lease, which an installation has exactly one of. Never ends.
async fn sweep(context: &Context, lease: Option<&(String, String)>) {
    if let Some((namespace, name)) = lease.filter(|_| context.config.redis.users != RedisUsers::Provided) {
        let api: Api<Lease> = Api::namespaced(context.client.clone(), namespace);
        loop {
            match api.get_metadata(name).await.map(|lease| lease.metadata.uid) {
                Ok(Some(installation)) => redis_users::sweep::run(context, &installation).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "the lease cannot be read, what deleted servers left waits");
                }
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }
    std::future::pending::<()>().await;
}

fn requests<K: kube::Resource<DynamicType = ()>>(
    mut queue: UnboundedReceiver<ObjectRef<K>>,
) -> impl futures::Stream<Item = Result<ObjectRef<K>, Infallible>> {
    stream::poll_fn(move |cx| queue.poll_recv(cx)).map(Ok)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use futures::FutureExt;
    use kube::runtime::watcher::Event;
    use serde_json::json;
    use tokio::{sync::oneshot, time::Instant};

    use super::*;
    use crate::testing::{self, Objects};

    #[tokio::test]
    async fn who_cannot_list_yet_does_not_stand() {
        let health = Health::waiting_for(vec!["a list".to_owned()]);
        let (leading, leads) = watch::channel(false);
        let (stopping, stopped) = watch::channel(false);
        let mut election = Box::pin(campaign(None, &health, &leading, stopped.clone()));
        assert_eq!((&mut election).now_or_never(), None);
        assert!(!*leads.borrow(), "a standby may be ready");
        health.done("a list");
        assert_eq!((&mut election).now_or_never(), None);
        assert!(*leads.borrow());
        drop(election);
        // Told to stop before that, it does not wait for ever.
        stopping.send_replace(true);
        campaign(None, &Health::waiting_for(vec!["a list".to_owned()]), &leading, stopped).await;
    }

    #[tokio::test]
    async fn the_lease_is_kept_while_running_passes_end() {
        let (renewed, pass) = oneshot::channel();
        let election = async {
            // What a running pass writes waits for this.
            let _ = renewed.send(());
            std::future::pending::<()>().await;
        };
        let work = async { pass.await.expect("the lease is renewed") };
        finish(work, election).await.unwrap();
        let lost = finish(std::future::pending(), std::future::ready(())).await;
        assert!(matches!(lost, Err(RunError::LostLease)));
    }

    /// Longer than anything may take.
    const LATE: Duration = Duration::from_secs(400);

    #[tokio::test]
    async fn a_controller_that_ends_alone_ends_the_process() {
        let (scope, mut servers, mut policies) = testing::scope();
        servers.apply_watcher_event(&Event::InitDone);
        policies.apply_watcher_event(&Event::InitDone);
        let context =
            Arc::new(testing::context(testing::client(|_| None), OperatorConfig::offline(), &scope));
        for closes in [false, true] {
            let mut leading = Box::pin(lead(context.clone()));
            assert_eq!((&mut leading).now_or_never(), None);
            // The stream of the first ends either way.
            let _other = scope.server_queue.open();
            if closes {
                scope.server_queue.close();
                scope.policy_queue.close();
            }
            tokio::time::timeout(Duration::from_secs(10), leading).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_pass_that_never_ends_is_not_alive() {
        let (scope, mut servers, mut policies) = testing::scope();
        let server = json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
            "metadata": { "name": "s", "namespace": "a", "uid": "s" },
            "spec": { "url": "https://h.example.com/mcp", "identity": {}, "access": { "everyone": {} },
                "backends": [] } });
        servers.apply_watcher_event(&Event::InitDone);
        servers.apply_watcher_event(&Event::Apply(serde_json::from_value(server).unwrap()));
        policies.apply_watcher_event(&Event::InitDone);
        let objects = Objects::default();
        objects.stall("/api/v1/namespaces/a/secrets/s-gateway-keys");
        let mut context = testing::context(objects.client(), OperatorConfig::offline(), &scope);
        // As if it had none.
        context.deadline = Duration::from_secs(100_000);
        let context = Arc::new(context);
        let health = Health::waiting_for(Vec::new()).working(work(&context.scopes));
        let late = || health.live(Instant::now() + LATE);
        let leading = tokio::spawn(lead(context.clone()));
        let said = async {
            while !late().1.starts_with("mcpserver: a look has gone on for 400 s") {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), said).await.unwrap();
        assert_eq!(late().0, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(health.live(Instant::now()).0, StatusCode::OK, "not yet");
        leading.abort();
    }
}
