//! The reconciler of OAuthClientPolicies: their status, and nothing else. What a policy does, the servers' passes do.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use kube::{
    Api, Resource, ResourceExt,
    api::{ApiResource, ListParams},
    runtime::{controller::Action, reflector::ObjectRef},
};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use super::{GuardedPolicy, UnreadablePolicy, attach::level, status::Namespace};
use crate::{
    crd::{McpServer, OAuthClientPolicy},
    metrics::Outcome,
    server::{
        context::{Context, backoff},
        controller::{ReconcileError, name_of},
        guarded::GuardedServer,
        status::write,
    },
    telemetry,
};

/// The controller's name in metrics.
pub const CONTROLLER: &str = "oauthclientpolicy";
/// How long one pass may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How often a policy is looked at that nothing happens to.
const RECHECK: Duration = Duration::from_secs(3600);
/// How soon a policy is looked at again whose status another operator wrote meanwhile.
const AGAIN: Duration = Duration::from_secs(1);

/// One pass over a policy.
///
/// # Errors
/// When the API server fails, or the pass takes too long.
pub async fn reconcile(policy: Arc<GuardedPolicy>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let span = span(&policy);
    pass(&policy, &context).instrument(span).await
}

/// The span of a pass over a policy.
fn span(policy: &GuardedPolicy) -> Span {
    telemetry::pass(CONTROLLER, &policy.namespace().unwrap_or_default(), &policy.name_any())
}

async fn pass(policy: &GuardedPolicy, context: &Context) -> Result<Action, ReconcileError> {
    let pass = context.metrics.pass(CONTROLLER);
    let started = Instant::now();
    let work = AssertUnwindSafe(look_at(policy, context)).catch_unwind();
    let result = match tokio::time::timeout(DEADLINE, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            context.metrics.panicked(CONTROLLER);
            Err(ReconcileError::Panic("see the log".to_owned()))
        }
        Err(_) => Err(ReconcileError::Deadline(DEADLINE)),
    };
    pass.end(if result.is_ok() { Outcome::Success } else { Outcome::Error }, started.elapsed());
    if result.is_ok() {
        context.policies.succeeded(policy);
        tidy(policy, context);
    }
    result.map(Action::requeue)
}

/// What is done about a failure.
#[expect(clippy::needless_pass_by_value, reason = "the signature that kube calls")]
pub fn error_policy(policy: Arc<GuardedPolicy>, error: &ReconcileError, context: Arc<Context>) -> Action {
    context.metrics.failed(CONTROLLER, error.reason());
    let pause = backoff(context.policies.failed(&policy), context.entropy.fraction());
    tidy(&policy, &context);
    let _pass = span(&policy).entered();
    tracing::warn!(reason = error.reason(), %error, pause_ms = pause.as_millis(), "a pass failed");
    Action::requeue(pause)
}

/// Forgets what a pass noted of a policy that went while the pass ran: when the watch told, there was nothing to forget
/// yet.
fn tidy(policy: &GuardedPolicy, context: &Context) {
    let object = ObjectRef::from_obj(policy);
    if context.scopes.iter().all(|scope| scope.policies.get(&object).is_none()) {
        context.policies.forget(&object);
    }
}

/// Gives the time until the next look.
async fn look_at(guarded: &GuardedPolicy, context: &Context) -> Result<Duration, ReconcileError> {
    let namespace = guarded.namespace().unwrap_or_default();
    let policy = match &guarded.0 {
        Ok(policy) if policy.metadata.deletion_timestamp.is_none() => policy,
        Ok(_) => return Ok(RECHECK),
        Err(unreadable) => {
            report_unreadable(guarded, unreadable, context).await?;
            return Ok(RECHECK);
        }
    };
    let others = others(&namespace, context).await?;
    let (servers, policies) = (context.servers_of(&namespace), context.policies_of(&namespace));
    let readable: Vec<McpServer> = others.iter().filter_map(|server| server.0.clone().ok()).collect();
    let selector = context.config.watch.label_selector.as_deref();
    let controller = super::status::controller_name(selector);
    let world = Namespace {
        servers: &servers,
        others: &readable,
        policies: &policies.readable,
        controller: &controller,
    };
    let old = context.policies.current_status(guarded);
    let new = super::status::status(policy, &old, &world, context.clock.now());
    let is_for = |server: &GuardedServer| level(server, policy).is_some();
    // What is for others alone is theirs to speak of. What is for nobody, any of them says.
    let is_ours = servers.iter().any(|server| level(server, policy).is_some())
        || old.ancestors.iter().any(|entry| entry.controller_name == controller)
        || !others.iter().any(is_for);
    if new == old || !is_ours {
        return Ok(RECHECK);
    }
    let object = policy.object_ref(&());
    let resource = ApiResource::erase::<OAuthClientPolicy>(&());
    // Who writes as one of several must have seen what the others wrote last.
    let seen = selector.and_then(|_| context.policies.current_version(guarded));
    let written = write::apply(&context.client, &resource, &object, seen.as_deref(), &new).await?;
    let Some(version) = written else { return Ok(if seen.is_some() { AGAIN } else { RECHECK }) };
    let events = write::events(&old.conditions, &new.conditions);
    context.policies.wrote_status(guarded, version, new);
    write::publish(&context.recorder, &object, events).await;
    Ok(RECHECK)
}

/// The servers of a namespace that the label selector leaves out: other operators', of which no watch tells.
async fn others(namespace: &str, context: &Context) -> Result<Vec<GuardedServer>, kube::Error> {
    if context.config.watch.label_selector.is_none() {
        return Ok(Vec::new());
    }
    let api: Api<GuardedServer> = Api::namespaced(context.client.clone(), namespace);
    let all = api.list(&ListParams::default()).await?;
    Ok(all.items.into_iter().filter(|server| context.server(&name_of(server)).is_none()).collect())
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
    let old = context.policies.current_status(guarded);
    let new = super::status::unreadable(unreadable, &old, &message, context.clock.now());
    if new == old {
        return Ok(());
    }
    tracing::warn!(error = unreadable.error, "an OAuthClientPolicy cannot be read");
    let resource = ApiResource::erase::<OAuthClientPolicy>(&());
    if let Some(version) = write::merge(&context.client, &resource, &object, &new).await? {
        let events = write::events(&old.conditions, &new.conditions);
        context.policies.wrote_status(guarded, version, new);
        write::publish(&context.recorder, &object, events).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        clock::{Clock, Entropy},
        config::OperatorConfig,
        testing::{self, EVENTS, Objects},
    };

    const POLICY: &str = "/apis/gatehouse.dev/v1alpha1/namespaces/a/oauthclientpolicies/p";
    const SERVERS: &str = "/apis/gatehouse.dev/v1alpha1/namespaces/a/mcpservers";

    /// What the status of a policy says that once had a target here, and now is for a server of this name.
    async fn after_a_pass(servers: &[&str]) -> Value {
        let objects = Objects::default();
        let items: Vec<Value> =
            servers.iter().map(|name| json!({ "metadata": { "name": name, "namespace": "a" } })).collect();
        objects.put(SERVERS, json!({ "metadata": {}, "items": items }));
        let policy = json!({
            "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy",
            "metadata": { "name": "p", "namespace": "a", "uid": "p", "generation": 2 },
            "spec": { "targetRefs": [{ "name": "theirs" }] },
            "status": { "observedGeneration": 1, "targets": { "matched": 1, "programmed": 1, "overridden": 0 } },
        });
        objects.put(POLICY, policy.clone());
        let mut config = OperatorConfig::offline();
        config.watch.label_selector = Some("colour=blue".to_owned());
        let (scope, ..) = testing::scope();
        let context = Arc::new(testing::context(objects.client(), config, &scope));
        let policy: GuardedPolicy = serde_json::from_value(policy).unwrap();
        reconcile(Arc::new(policy), context).await.unwrap();
        objects.get(POLICY)["status"].clone()
    }

    #[tokio::test]
    async fn what_the_watch_has_not_shown_yet_is_neither_written_nor_told_again() {
        let spec = |targets: Value| {
            json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy",
                "metadata": { "name": "p", "namespace": "a", "uid": "p", "generation": 1 },
                "spec": { "targetRefs": targets } })
        };
        for policy in [spec(json!([{ "name": "nobody" }])), spec(json!("cannot be read"))] {
            let objects = Objects::default();
            objects.put(POLICY, policy.clone());
            let (scope, _servers, mut cache) = testing::scope();
            let mut context = testing::context(objects.client(), OperatorConfig::offline(), &scope);
            let seconds = Arc::new(std::sync::atomic::AtomicI64::new(1));
            let clock = seconds.clone();
            let tick = move || clock.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            context.clock = Clock::from_fn(move || jiff::Timestamp::from_second(tick()).unwrap());
            let context = Arc::new(context);
            let cached: Arc<GuardedPolicy> = Arc::new(serde_json::from_value(policy).unwrap());
            cache.apply_watcher_event(&Event::Apply(GuardedPolicy::clone(&cached)));
            reconcile(cached.clone(), context.clone()).await.unwrap();
            let (written, told) = (objects.get(POLICY), objects.under(EVENTS));
            assert!(!told.is_empty() && written["status"]["conditions"].is_array(), "{written:#}");
            // A server's pass asks for a look before the watch has shown the status.
            reconcile(cached, context.clone()).await.unwrap();
            assert_eq!(objects.get(POLICY), written);
            assert_eq!(objects.under(EVENTS), told);
        }
    }

    #[tokio::test]
    async fn a_policy_whose_passes_fail_is_looked_at_less_and_less() {
        let objects = Objects::default();
        let policy = json!({
            "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy",
            "metadata": { "name": "p", "namespace": "a", "uid": "p", "generation": 1 },
            "spec": { "targetRefs": [{ "name": "nobody" }] },
        });
        objects.put(POLICY, policy.clone());
        let (scope, _servers, mut cache) = testing::scope();
        let mut context = testing::context(objects.client(), OperatorConfig::offline(), &scope);
        let expected = Entropy::seeded(1);
        context.entropy = Entropy::seeded(1);
        let context = Arc::new(context);
        let policy: GuardedPolicy = serde_json::from_value(policy).unwrap();
        cache.apply_watcher_event(&Event::Apply(policy.clone()));
        let policy = Arc::new(policy);
        let fails = || error_policy(policy.clone(), &ReconcileError::Deadline(DEADLINE), context.clone());
        for failures in 1..8 {
            assert_eq!(fails(), Action::requeue(backoff(failures, expected.fraction())));
        }
        reconcile(policy.clone(), context.clone()).await.unwrap();
        assert_eq!(
            fails(),
            Action::requeue(backoff(1, expected.fraction())),
            "what went through ends the row"
        );
        assert!(!context.policies.is_empty());
        cache.apply_watcher_event(&Event::Delete(GuardedPolicy::clone(&policy)));
        fails();
        assert!(context.policies.is_empty(), "no watch tells again that it is gone");
    }

    #[tokio::test]
    async fn beside_other_operators_a_policy_for_nobody_says_so_and_one_for_theirs_is_theirs() {
        let nobody = after_a_pass(&["other"]).await;
        assert_eq!(nobody["targets"]["matched"], 0, "{nobody}");
        assert_eq!(nobody["conditions"][0]["reason"], "TargetNotFound", "{nobody}");
        let theirs = after_a_pass(&["other", "theirs"]).await;
        assert_eq!((&theirs["targets"]["matched"], &theirs["observedGeneration"]), (&json!(1), &json!(1)));
    }
}
