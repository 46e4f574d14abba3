//! The reconciler of McpServers: five named steps, and what surrounds them so that no server can harm another: a
//! deadline, a net under panics, back-off for each object.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use kube::{Resource, ResourceExt, runtime::controller::Action};
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    apply::{Applied, Applier, ApplyError, Cause},
    build::{Desired, build},
    children::{ChildKind, Rollout},
    context::Context,
    fetch::{
        ServerName,
        live::{Gathered, Source},
    },
    guarded::{GuardedServer, UnreadableServer},
    names, peers, redis_login,
    report::{report_interrupted, report_refused, tell_keys, tell_stopped, write_status},
    rollouts::{End, Turn},
    status::{Findings, write},
    validate::{ValidatedServer, validate},
};
use crate::{
    client::NotLeading,
    config::RedisUsers,
    crd::{
        McpServer,
        condition::{Problem, Reason},
    },
    metrics::Outcome,
    telemetry,
};

/// The controller's name in metrics.
pub const CONTROLLER: &str = "mcpserver";
/// How often a server is looked at that nothing happens to: its Secrets are not watched.
const RECHECK: Duration = Duration::from_secs(30 * 60);
/// How often a server is looked at that waits for something of which a watch tells.
const RECHECK_AWAITED: Duration = Duration::from_secs(5 * 60);
/// How often a server is looked at that waits for something of which nothing tells, such as a Secret.
const RECHECK_UNRESOLVED: Duration = Duration::from_secs(15);
/// For how long it is looked at so often. Whoever comes later can wait as for what a watch tells, and servers that nobody
/// mends do not hold up the others.
const UNRESOLVED: Duration = Duration::from_secs(10 * 60);
/// How long a pass waits for Redis to take a new user, so that a first pass need not report what is a moment away.
const REDIS_PATIENCE: Duration = Duration::from_secs(2);

/// Why a pass failed. The variant's name is the metric's reason.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server failed; retried with back-off.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The API server failed while something was applied, which the status says; retried with back-off.
    #[error("the API server, when something was applied: {0}")]
    Apply(kube::Error),
    /// The pass took too long.
    #[error("not done within {0:?}")]
    Deadline(Duration),
    /// The pass panicked: a defect.
    #[error("a defect in the operator: {0}")]
    Panic(String),
}

impl ReconcileError {
    /// The reason in metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api(error) | Self::Apply(error) if is_fenced(error) => "NotLeading",
            Self::Api(_) | Self::Apply(_) => "Api",
            Self::Deadline(_) => "Deadline",
            Self::Panic(_) => "Panic",
        }
    }
}

pub(super) fn is_fenced(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Service(error) if error.is::<NotLeading>())
}

/// One pass over a server.
///
/// # Errors
/// See [`ReconcileError`].
pub async fn reconcile(server: Arc<GuardedServer>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let name = name_of(&server);
    let span = telemetry::pass(CONTROLLER, &name.namespace, &name.name);
    pass(&name, &server, &context).instrument(span).await
}

async fn pass(
    name: &ServerName,
    server: &GuardedServer,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let pass = context.metrics.pass(CONTROLLER);
    let started = Instant::now();
    let work = AssertUnwindSafe(look_at(name, server, context)).catch_unwind();
    let result = match tokio::time::timeout(context.deadline, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            context.metrics.panicked(CONTROLLER);
            Err(ReconcileError::Panic(panic_text(&*panic)))
        }
        Err(_) => Err(ReconcileError::Deadline(context.deadline)),
    };
    let outcome = match &result {
        Ok(pause) if *pause < RECHECK / 2 => Outcome::RequeueAfter,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Error,
    };
    pass.end(outcome, started.elapsed());
    if let (Err(error), Ok(server)) = (&result, &server.0) {
        report_interrupted(name, server, error, context).await;
    }
    if result.is_ok() {
        context.succeeded(name);
        context.tidy(name);
    }
    result.map(Action::requeue)
}

/// What is done about a failure: the same again after a pause of this object's own.
#[expect(clippy::needless_pass_by_value, reason = "the signature that kube calls")]
pub fn error_policy(server: Arc<GuardedServer>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let name = name_of(&server);
    let pause = context.failed(&name);
    context.tidy(&name);
    context.metrics.failed(CONTROLLER, error.reason());
    let _pass = telemetry::pass(CONTROLLER, &name.namespace, &name.name).entered();
    tracing::warn!(reason = error.reason(), %error, pause_ms = pause.as_millis(), "a pass failed");
    Action::requeue(pause)
}

/// A server's name.
pub fn name_of(server: &GuardedServer) -> ServerName {
    ServerName { namespace: server.namespace().unwrap_or_default(), name: server.name_any() }
}

/// The steps. Gives the time until the next look.
async fn look_at(
    name: &ServerName,
    guarded: &GuardedServer,
    context: &Context,
) -> Result<Duration, ReconcileError> {
    if guarded.meta().deletion_timestamp.is_some() {
        return Ok(RECHECK);
    }
    let server = match &guarded.0 {
        Ok(server) => server,
        Err(unreadable) => {
            context.rolled(name, End::Untold);
            return report_unreadable(guarded, unreadable, context).await;
        }
    };
    let Some(gathered) = fetch(name, server, context).await? else { return Ok(RECHECK) };
    if let Some(why) = &gathered.refused {
        context.rolled(name, End::Untold);
        return report_refused(name, guarded, server, (why, &gathered), context).await;
    }
    let valid = validate_with(server, &gathered, context);
    let desired = valid.as_ref().ok().map(build);
    let applied = if let Some(desired) = &desired {
        Some(apply(name, server, desired, context).await)
    } else {
        context.rolled(name, End::Untold);
        None
    };
    let valid = match (&valid, &desired) {
        (Ok(valid), Some(desired)) => Ok((valid, desired)),
        (Err(problems), _) => Err(problems.clone()),
        (Ok(_), None) => Err(Vec::new()),
    };
    let found = findings(name, valid, applied, &gathered, context);
    let written = write_status(name, guarded, server, &found, context).await;
    if let Some(Err(ApplyError::Api(error))) = found.applied {
        return Err(ReconcileError::Apply(error));
    }
    written?;
    if let Some(Err(ApplyError::Refused { .. })) = found.applied {
        return Ok(context.refused(name));
    }
    context.admitted(name);
    Ok(spread(pause(name, server, &found, context), context))
}

/// How long a server may go unlooked at.
fn pause(name: &ServerName, server: &McpServer, found: &Findings<'_>, context: &Context) -> Duration {
    if found.is_unresolved() {
        let generation = server.metadata.generation.unwrap_or_default();
        return unresolved_pause(context.unresolved(name, generation, Instant::now()));
    }
    context.resolved(name);
    if found.is_awaited() { RECHECK_AWAITED } else { RECHECK }
}

/// The pause of a server that has waited so long for something of which nothing tells.
fn unresolved_pause(waited: Duration) -> Duration {
    if waited < UNRESOLVED { RECHECK_UNRESOLVED } else { RECHECK_AWAITED }
}

/// Step 1 (IO): everything that `validate` looks at. `None` when the server is gone.
async fn fetch(
    name: &ServerName,
    server: &McpServer,
    context: &Context,
) -> Result<Option<Gathered>, ReconcileError> {
    let rivals = peers::host(server).map(|host| context.rivals(&host, name)).unwrap_or_default();
    let policies = context.policies_of(&name.namespace);
    let mut gathered = Gathered::default();
    let is_there = source(context).gather(&mut gathered, server, &rivals, policies).await;
    // Also where the rest of the pass fails: no other made them.
    tell_keys(server, &gathered, context).await;
    if !is_there? {
        return Ok(None);
    }
    if let Some(user) = &gathered.redis_user {
        context.uses_redis_user(name, user);
        context.redis.settled(user, REDIS_PATIENCE).await;
    }
    Ok(Some(gathered))
}

fn source(context: &Context) -> Source<'_> {
    Source {
        client: &context.client,
        config: &context.config,
        redis: &context.redis,
        clock: &context.clock,
        entropy: &context.entropy,
    }
}

/// Step 2 (pure): a server that is proven valid, or everything that is wrong.
fn validate_with(
    server: &McpServer,
    gathered: &Gathered,
    context: &Context,
) -> Result<ValidatedServer, Vec<Problem>> {
    let valid = validate(server, &gathered.fetched, &context.config);
    match valid {
        valid if gathered.problems.is_empty() => valid,
        Ok(_) => Err(gathered.problems.clone()),
        Err(problems) => Err(gathered.problems.iter().cloned().chain(problems).collect()),
    }
}

/// Step 4 (IO): server-side apply where something differs.
async fn apply(
    name: &ServerName,
    server: &McpServer,
    desired: &Desired,
    context: &Context,
) -> Result<Applied, ApplyError> {
    let uid = server.uid().unwrap_or_default();
    let applier = Applier { client: &context.client, children: &context.children, server: name, owner: &uid };
    let cause = applier.cause(&desired.deployment);
    match cause {
        Cause::Nothing => context.waits_no_more(name),
        Cause::Edit => context.edited(name),
        Cause::Operator { is_well } => match context.may_roll(name, is_well) {
            Turn::Now => {}
            Turn::After(others) => return Ok(Applied::Queued(others)),
            Turn::Stopped(failed) => return Ok(Applied::Stopped(failed)),
        },
    }
    let done = async {
        applier.prepare(desired).await?;
        let rollout = applier.roll(&desired.deployment).await?;
        if rollout.is_complete() {
            applier.sweep(desired).await?;
        }
        Ok(rollout)
    };
    let done = done.await;
    if let Some(end) = end(&done, cause)
        && let Some(failed) = context.rolled(name, end)
    {
        tell_stopped(server, &failed, context).await;
    }
    done.map(Applied::Done)
}

/// What became of a roll-out. `None` while it goes on: what is over, or broken, must not hold the others up.
fn end(done: &Result<Rollout, ApplyError>, cause: Cause) -> Option<End> {
    let Ok(rollout) = done else { return Some(End::Untold) };
    if rollout.has_failed() {
        return Some(if rollout.is_refused { End::Untold } else { End::Failed });
    }
    if !rollout.is_complete() {
        return None;
    }
    Some(match cause {
        // Applied just now, and no pod was replaced.
        Cause::Operator { .. } => End::Untold,
        _ if rollout.wanted == 0 => End::Gone,
        Cause::Nothing | Cause::Edit => End::Worked,
    })
}

fn findings<'a>(
    name: &ServerName,
    valid: Result<(&'a ValidatedServer, &'a Desired), Vec<Problem>>,
    applied: Option<Result<Applied, ApplyError>>,
    gathered: &Gathered,
    context: &Context,
) -> Findings<'a> {
    let deployment = names::gateway(&name.name);
    let pods =
        context.children.get(ChildKind::Deployment, &name.namespace, &deployment).and_then(|c| c.rollout);
    let user = gathered.redis_user.as_deref();
    let (redis_failure, redis_warnings) = context.redis.state(|redis| match context.config.redis.users {
        RedisUsers::Provided => (None, Vec::new()),
        RedisUsers::Shared => (redis.failure.clone(), redis.warnings.clone()),
        RedisUsers::Managed => (user.and_then(|user| redis.user(user).err()), redis.warnings.clone()),
    });
    let own =
        valid.as_ref().ok().into_iter().flat_map(|(valid, _)| valid.warnings.iter().map(Problem::to_string));
    let keys = gathered.fetched.keys.clone();
    let instance = keys.instance_of(name);
    let denial = instance.and_then(|instance| context.redis.state(|redis| redis.denial(&instance)));
    let warnings = own.chain(redis_warnings).chain(denial).collect();
    let redis_is_away = context.redis.state(|redis| redis.failure.is_some());
    let isolation = context.redis.state(|redis| redis.isolation(context.config.redis.users, user));
    let failed = context.failed_on_our_account(name);
    let failed_defaults = failed.then(|| context.config.defaults_hash());
    Findings {
        valid,
        applied,
        pods,
        keys,
        isolation,
        redis_failure,
        redis_is_away,
        warnings,
        failed_defaults,
    }
}

/// An object that is no McpServer of this version: said in its status, and nothing else is touched. Its pods run on.
async fn report_unreadable(
    guarded: &GuardedServer,
    unreadable: &UnreadableServer,
    context: &Context,
) -> Result<Duration, ReconcileError> {
    let name = name_of(guarded);
    let UnreadableServer { metadata, status, .. } = unreadable;
    if let Some(user) = redis_login::keep(&source(context), metadata, status).await? {
        context.uses_redis_user(&name, &user);
    }
    let message = format!(
        "this object cannot be read, perhaps an older version of the CRD let it in: {}; correct it",
        unreadable.error
    );
    tracing::warn!(error = unreadable.error, "an McpServer cannot be read");
    context.metrics.server(&name.to_string(), Some(false));
    let problem = Problem::accepted(Reason::Invalid, "spec", message);
    let (events, version) = write::unreadable(context, guarded, problem).await?;
    if let Some((version, status)) = version {
        context.wrote_status(&name, metadata, version, status);
    }
    write::publish(&context.recorder, &guarded.object_ref(&()), events).await;
    Ok(RECHECK)
}

/// A tenth more or less, so that servers made together are not looked at together for ever.
fn spread(pause: Duration, context: &Context) -> Duration {
    pause.mul_f64(0.9 + context.entropy.fraction() / 5.0)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
