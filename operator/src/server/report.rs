//! What a pass says: the status, in one patch, and events of what changed; also when it did not get to its end.

use std::time::Duration;

use kube::{
    Resource,
    api::ApiResource,
    runtime::events::{Event, EventType},
};

use super::{
    context::Context,
    controller::{ReconcileError, is_fenced},
    fetch::{ServerName, live::Gathered},
    guarded::GuardedServer,
    status::{self, Findings, write},
};
use crate::crd::{McpServer, McpServerStatus, condition::ConditionType};

/// How long the word of an interrupted pass may take.
const STATUS_DEADLINE: Duration = Duration::from_secs(10);

/// Step 5: the status (pure), then one patch if it changed, and events for what changed.
pub(super) async fn write_status(
    name: &ServerName,
    guarded: &GuardedServer,
    server: &McpServer,
    found: &Findings<'_>,
    context: &Context,
) -> Result<(), ReconcileError> {
    let old = context.current_status(name, guarded).unwrap_or_default();
    let new = status::status(server, &old, found, context.clock.now());
    put_status(name, server, &old, new, &found.warnings, context).await
}

/// One patch, if the status changed, and its events.
async fn put_status(
    name: &ServerName,
    server: &McpServer,
    old: &McpServerStatus,
    new: McpServerStatus,
    warnings: &[String],
    context: &Context,
) -> Result<(), ReconcileError> {
    let ready = new.conditions.iter().any(|c| c.type_ == ConditionType::Ready.as_str() && c.status == "True");
    context.metrics.server(&name.to_string(), Some(ready));
    if new == *old {
        return Ok(());
    }
    let object = server.object_ref(&());
    let resource = ApiResource::erase::<McpServer>(&());
    let written = write::apply(&context.client, &resource, &object, None, &new).await?;
    let Some(version) = written else { return Ok(()) };
    let mut events = write::events(&old.conditions, &new.conditions);
    events.extend(write::warnings(&old.conditions, &new.conditions, warnings));
    context.wrote_status(name, &server.metadata, version, new);
    context.enqueue_policies_of(&name.namespace);
    write::publish(&context.recorder, &object, events).await;
    Ok(())
}

/// Says in the status, as well as it goes, that a pass did not get to its end. What it would have found of the rest is
/// not known, so the other conditions stay as they were.
pub(super) async fn report_interrupted(
    name: &ServerName,
    server: &McpServer,
    error: &ReconcileError,
    context: &Context,
) {
    let told = match error {
        // Somebody else writes the status now; and what could not be applied, the pass has said itself.
        ReconcileError::Api(error) if is_fenced(error) => false,
        ReconcileError::Apply(_) => false,
        // One request that fails is no news: the next pass is a second away.
        ReconcileError::Api(_) => context.has_failed(name),
        ReconcileError::Deadline(_) | ReconcileError::Panic(_) => true,
    };
    if !told {
        return;
    }
    let guarded = GuardedServer(Ok(server.clone()));
    let work = async {
        let old = context.current_status(name, &guarded).unwrap_or_default();
        let new = status::interrupted(server, &old, &error.to_string(), context.clock.now());
        put_status(name, server, &old, new, &[], context).await
    };
    match tokio::time::timeout(STATUS_DEADLINE, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the status cannot be written"),
        Err(_) => tracing::warn!("the status could not be written in time"),
    }
}

/// Says in the status, and nothing else of it, that the API server let a pass go no further. Gives the time until the
/// next look: somebody must act first.
pub(super) async fn report_refused(
    name: &ServerName,
    guarded: &GuardedServer,
    server: &McpServer,
    (why, gathered): (&str, &Gathered),
    context: &Context,
) -> Result<Duration, ReconcileError> {
    let old = context.current_status(name, guarded).unwrap_or_default();
    let new = status::refused(server, &old, &gathered.fetched.keys, why, context.clock.now());
    put_status(name, server, &old, new, &[], context).await?;
    Ok(context.refused(name))
}

/// Keys that were made just now are an event: somebody has to back them up.
pub(super) async fn tell_keys(server: &McpServer, gathered: &Gathered, context: &Context) {
    if !gathered.keys_created {
        return;
    }
    let made = Event {
        type_: EventType::Normal,
        reason: "KeysCreated".to_owned(),
        note: Some("made the keys that seal what this server stores; back the Secret up".to_owned()),
        action: "CreateKeys".to_owned(),
        secondary: None,
    };
    write::publish(&context.recorder, &server.object_ref(&()), vec![made]).await;
}

/// What stops all roll-outs of the operator's own is an event of the server with which it did, and a line for whoever runs
/// the operator. Those that wait say it in their status.
pub(super) async fn tell_stopped(server: &McpServer, failed: &[ServerName], context: &Context) {
    let failed = status::named(failed);
    tracing::error!(
        failed,
        "the operator's image or defaults work on none of these, no other server is rolled"
    );
    let note = format!(
        "the operator's image or defaults failed on {failed}, and worked on none between them: no other server is rolled until \
         they are changed or one of these gets well"
    );
    let stopped = Event {
        type_: EventType::Warning,
        reason: "RolloutsStopped".to_owned(),
        note: Some(write::note(&note)),
        action: "Roll".to_owned(),
        secondary: None,
    };
    write::publish(&context.recorder, &server.object_ref(&()), vec![stopped]).await;
}
