//! Writes a status when it changed, and tells its changes as events.

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder},
};
use serde::Serialize;
use serde_json::json;

use super::{Findings, written::REFUSED};
use crate::{
    crd::{
        McpServerStatus,
        condition::{ConditionType, Problem, Reason},
    },
    server::{
        children::ChildKind,
        context::Context,
        fetch::{Keys, ServerName},
        guarded::GuardedServer,
        names,
    },
};

/// The field manager of everything in a status.
const STATUS_MANAGER: &str = "gatehouse-status";

/// Applies a status as a whole: what is not in it any more goes away. Gives the new `resourceVersion`, or `None` when
/// the object is gone, or has another version than the one that must have been `seen`.
///
/// # Errors
/// When the API server fails or refuses.
pub async fn apply(
    client: &Client,
    resource: &ApiResource,
    object: &ObjectReference,
    seen: Option<&str>,
    status: &impl Serialize,
) -> Result<Option<u64>, kube::Error> {
    let namespace = object.namespace.clone().unwrap_or_default();
    let name = object.name.clone().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, resource);
    let mut patch = json!({
        "apiVersion": object.api_version,
        "kind": object.kind,
        // The UID is a precondition: another object of this name has a status of its own.
        "metadata": { "name": name, "namespace": namespace, "uid": object.uid },
        "status": status,
    });
    if let Some(version) = seen {
        patch["metadata"]["resourceVersion"] = json!(version);
    }
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        Ok(live) => Ok(live.metadata.resource_version.and_then(|v| v.parse().ok())),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Says in the status of an object that cannot be read why not. Gives the events to publish and what was written.
///
/// # Errors
/// When the API server fails.
pub async fn unreadable(
    context: &Context,
    object: &GuardedServer,
    problem: Problem,
) -> Result<(Vec<Event>, Option<(u64, McpServerStatus)>), kube::Error> {
    let reference = object.object_ref(&());
    let resource = ApiResource::erase::<GuardedServer>(&());
    let name = ServerName { namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    let old = context.current_status(&name, object).unwrap_or_default();
    let found = Findings {
        valid: Err(vec![problem]),
        applied: None,
        pods: context
            .children
            .get(ChildKind::Deployment, &name.namespace, &names::gateway(&name.name))
            .and_then(|c| c.rollout),
        keys: Keys::Offline,
        isolation: context.redis.state(|redis| redis.isolation(context.config.redis.users, None)),
        redis_failure: None,
        redis_is_away: false,
        warnings: Vec::new(),
        failed_defaults: None,
    };
    let new = super::status_of(object.meta(), &old, &found, context.clock.now());
    if new == old {
        return Ok((Vec::new(), None));
    }
    let Some(version) = merge(&context.client, &resource, &reference, &new).await? else {
        return Ok((Vec::new(), None));
    };
    Ok((events(&old.conditions, &new.conditions), Some((version, new))))
}

/// Writes the status of an object that cannot be read. Gives the new `resourceVersion`: newer than any when the API
/// server refuses it for good, so that the same is not told again, and `None` when the object is gone.
///
/// # Errors
/// When the API server fails.
pub async fn merge(
    client: &Client,
    resource: &ApiResource,
    object: &ObjectReference,
    status: &impl Serialize,
) -> Result<Option<u64>, kube::Error> {
    let (namespace, name) =
        (object.namespace.clone().unwrap_or_default(), object.name.clone().unwrap_or_default());
    // A merge patch: server-side apply cannot read what its schema does not describe.
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, resource);
    let patch = Patch::Merge(json!({ "metadata": { "uid": object.uid }, "status": status }));
    let params = PatchParams { field_manager: Some(STATUS_MANAGER.to_owned()), ..PatchParams::default() };
    match api.patch_status(&name, &params, &patch).await {
        Ok(live) => Ok(live.metadata.resource_version.and_then(|v| v.parse().ok())),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        // The API server may refuse to touch an object that its schema no longer allows: then the event must do. What
        // else it answers may be another answer the next time.
        Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
            let error = &status.message;
            tracing::warn!(kind = %resource.kind, error, "an unreadable object's status is refused");
            Ok(Some(REFUSED))
        }
        Err(error) => Err(error),
    }
}

/// The events that tell a change of conditions: what went wrong as a warning, what got well again as a normal one.
pub fn events(old: &[Condition], new: &[Condition]) -> Vec<Event> {
    new.iter().filter_map(|now| event(old.iter().find(|before| before.type_ == now.type_), now)).collect()
}

/// The events that tell warnings that `Ready` did not show before.
pub fn warnings(old: &[Condition], new: &[Condition], warnings: &[String]) -> Vec<Event> {
    let shown = |conditions: &[Condition], warning: &str| {
        let ready = conditions.iter().find(|c| c.type_ == ConditionType::Ready.as_str());
        ready.is_some_and(|c| c.message.contains(warning))
    };
    let fresh = warnings.iter().filter(|w| shown(new, w) && !shown(old, w));
    fresh
        .map(|warning| Event {
            type_: EventType::Warning,
            reason: "ConfigurationWarning".to_owned(),
            note: Some(note(warning)),
            action: ConditionType::Ready.as_str().to_owned(),
            secondary: None,
        })
        .collect()
}

fn event(before: Option<&Condition>, now: &Condition) -> Option<Event> {
    let told = [
        ConditionType::Accepted,
        ConditionType::ResolvedRefs,
        ConditionType::Programmed,
        ConditionType::Ready,
    ];
    let type_ = told.into_iter().find(|t| t.as_str() == now.type_)?;
    let same = before.is_some_and(|b| b.status == now.status && b.reason == now.reason);
    // Ready repeats the others where it is not True.
    let repeats = type_ == ConditionType::Ready && now.status != "True";
    // What is waited for without anyone's doing is progress, not news.
    let quiet =
        [Reason::Blocked, Reason::Progressing, Reason::Pending].iter().any(|r| r.as_str() == now.reason);
    let recovered = before.is_some_and(|b| b.status == "False") || type_ == ConditionType::Ready;
    if same || repeats || quiet || (now.status == "True" && !recovered) {
        return None;
    }
    // A roll-out that is over is told by Ready.
    if type_ == ConditionType::Programmed && now.status == "True" {
        return None;
    }
    let type_ = if now.status == "True" { EventType::Normal } else { EventType::Warning };
    Some(Event {
        type_,
        reason: now.reason.clone(),
        note: Some(note(&now.message)),
        action: now.type_.trim_start_matches("gatehouse.dev/").to_owned(),
        secondary: None,
    })
}

/// A note, no longer than events may be.
pub fn note(message: &str) -> String {
    // The limit is 1024 bytes; a character has up to four.
    let mut note = String::new();
    for character in message.chars() {
        if note.len() + character.len_utf8() > 1000 {
            note.push('…');
            break;
        }
        note.push(character);
    }
    note
}

/// Publishes events. They are for people: one that cannot be published is logged and stops nothing.
pub async fn publish(recorder: &Recorder, object: &ObjectReference, events: Vec<Event>) {
    for event in events {
        if let Err(error) = recorder.publish(&event, object).await {
            tracing::warn!(%error, reason = event.reason, "an event could not be published");
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    fn condition(type_: ConditionType, status: &str, reason: Reason) -> Condition {
        Condition {
            type_: type_.as_str().to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: "why".to_owned(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    fn told(old: &[Condition], new: &[Condition]) -> Vec<(String, bool)> {
        events(old, new).into_iter().map(|e| (e.reason, e.type_ == EventType::Warning)).collect()
    }

    #[test]
    fn changes_are_told_once_and_progress_is_not() {
        let good = condition(ConditionType::ResolvedRefs, "True", Reason::Resolved);
        let bad = condition(ConditionType::ResolvedRefs, "False", Reason::RefNotFound);
        let other = condition(ConditionType::ResolvedRefs, "False", Reason::KeyNotFound);
        assert_eq!(told(&[], std::slice::from_ref(&good)), []);
        assert_eq!(
            told(std::slice::from_ref(&good), std::slice::from_ref(&bad)),
            [("RefNotFound".to_owned(), true)]
        );
        assert_eq!(told(std::slice::from_ref(&bad), std::slice::from_ref(&bad)), []);
        assert_eq!(told(std::slice::from_ref(&bad), &[other]), [("KeyNotFound".to_owned(), true)]);
        assert_eq!(told(&[bad], &[good]), [("Resolved".to_owned(), false)]);
        let progress = condition(ConditionType::Programmed, "False", Reason::Progressing);
        assert_eq!(told(&[], &[progress]), []);
        let ready = condition(ConditionType::Ready, "True", Reason::Ready);
        assert_eq!(told(&[], &[ready]), [("Ready".to_owned(), false)]);
    }

    #[test]
    fn a_note_is_bounded_in_bytes() {
        assert!(note(&"é".repeat(2000)).len() <= 1024);
    }
}
