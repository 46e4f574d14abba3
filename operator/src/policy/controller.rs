//! The reconciler of OAuthClientPolicies: their status, and nothing else. What a policy does, the servers' passes do.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use kube::{Resource, ResourceExt, api::ApiResource, runtime::controller::Action};
use tokio::time::Instant;

use super::{GuardedPolicy, UnreadablePolicy};
use crate::{
    crd::OAuthClientPolicy,
    metrics::Outcome,
    server::{
        context::{Context, backoff},
        controller::ReconcileError,
        status::write,
    },
};

/// The controller's name in metrics.
pub const CONTROLLER: &str = "oauthclientpolicy";
/// How long one pass may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a policy is looked at that nothing happens to.
const RECHECK: Duration = Duration::from_secs(3600);

/// One pass over a policy.
///
/// # Errors
/// When the API server fails, or the pass takes too long.
pub async fn reconcile(policy: Arc<GuardedPolicy>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let pass = context.metrics.pass(CONTROLLER);
    let started = Instant::now();
    let work = AssertUnwindSafe(look_at(&policy, &context)).catch_unwind();
    let result = match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            context.metrics.panicked(CONTROLLER);
            Err(ReconcileError::Panic("see the log".to_owned()))
        }
        Err(_) => Err(ReconcileError::Deadline),
    };
    pass.end(if result.is_ok() { Outcome::Success } else { Outcome::Error }, started.elapsed());
    result.map(|()| Action::requeue(RECHECK))
}

/// What is done about a failure.
#[expect(clippy::needless_pass_by_value, reason = "the signature that kube calls")]
pub fn error_policy(policy: Arc<GuardedPolicy>, error: &ReconcileError, context: Arc<Context>) -> Action {
    context.metrics.failed(CONTROLLER, error.reason());
    let name = format!("{}/{}", policy.namespace().unwrap_or_default(), policy.name_any());
    tracing::warn!(policy = name, reason = error.reason(), %error, "a pass failed");
    // Statuses only: there is no harm in a fixed, spread pause.
    Action::requeue(backoff(4, context.entropy.fraction()))
}

async fn look_at(guarded: &GuardedPolicy, context: &Context) -> Result<(), ReconcileError> {
    let namespace = guarded.namespace().unwrap_or_default();
    let policy = match &guarded.0 {
        Ok(policy) if policy.metadata.deletion_timestamp.is_none() => policy,
        Ok(_) => return Ok(()),
        Err(unreadable) => return report_unreadable(guarded, unreadable, context).await,
    };
    let (servers, policies) = (context.servers_of(&namespace), context.policies_of(&namespace));
    let new = super::status::status(policy, &servers, &policies.readable, context.clock.now());
    let old = policy.status.clone().unwrap_or_default();
    // With a label selector, the servers of other operators are not seen here, and their policies are not ours to judge.
    let others = context.config.watch.label_selector.is_some() && new.targets.is_none_or(|t| t.matched == 0);
    if new == old || others {
        return Ok(());
    }
    let object = policy.object_ref(&());
    let resource = ApiResource::erase::<OAuthClientPolicy>(&());
    if write::apply(&context.client, &resource, &object, &new).await?.is_some() {
        let events = write::events(&old.conditions, &new.conditions);
        write::publish(&context.recorder, &object, events).await;
    }
    Ok(())
}

/// An object that is no OAuthClientPolicy of this version: said in its status, or at least as an event. The servers that
/// it is for keep their last good configuration.
async fn report_unreadable(
    guarded: &GuardedPolicy,
    unreadable: &UnreadablePolicy,
    context: &Context,
) -> Result<(), ReconcileError> {
    let object = guarded.object_ref(&());
    let message = format!(
        "this object cannot be read, perhaps an older version of the CRD let it in: {}; correct it",
        unreadable.error
    );
    let new = super::status::unreadable(unreadable, &message, context.clock.now());
    if new == unreadable.status || context.told_unreadable(guarded) {
        return Ok(());
    }
    let (namespace, name) = (guarded.namespace().unwrap_or_default(), guarded.name_any());
    tracing::warn!(namespace, name, error = unreadable.error, "an OAuthClientPolicy cannot be read");
    let resource = ApiResource::erase::<OAuthClientPolicy>(&());
    if write::merge(&context.client, &resource, &object, &new).await?.is_some() {
        context.tells_unreadable(guarded);
        let events = write::events(&unreadable.status.conditions, &new.conditions);
        write::publish(&context.recorder, &object, events).await;
    }
    Ok(())
}
