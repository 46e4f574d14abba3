//! The conditions of a server. One function each; together they explain every failure to `kubectl describe`.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

use super::{Findings, bounded, named, words};
use crate::{
    crd::condition::{ConditionType, Problem, Reason},
    redis_users::Isolation,
    server::{
        apply::{Applied, ApplyError},
        children::Rollout,
    },
};

/// What a condition says, before it is compared with what it said.
struct Verdict {
    status: &'static str,
    reason: Reason,
    message: String,
}

fn yes(reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict { status: "True", reason, message: message.into() }
}

fn no(reason: Reason, message: impl Into<String>) -> Verdict {
    Verdict { status: "False", reason, message: message.into() }
}

/// All conditions of a server, with the old times where the status did not flip.
pub(super) fn all(
    generation: Option<i64>,
    old: &[Condition],
    found: &Findings<'_>,
    now: Timestamp,
) -> Vec<Condition> {
    let accepted = accepted(found);
    let resolved = resolved(found);
    let programmed = programmed(found);
    let available = available(found);
    let ready = ready([&accepted, &resolved, &programmed, &available], found);
    let retried = matches!(found.applied, Some(Err(ApplyError::Api(_))));
    let stalled = if retried {
        no(Reason::Reconciling, "it is tried again by itself")
    } else {
        stalled(&accepted, &resolved, &programmed)
    };
    let mut verdicts = vec![
        (ConditionType::Accepted, accepted),
        (ConditionType::ResolvedRefs, resolved),
        (ConditionType::Programmed, programmed),
        (ConditionType::Available, available),
        (ConditionType::Ready, ready),
        (ConditionType::Stalled, stalled),
        (ConditionType::TenantIsolated, isolated(found)),
    ];
    if let Some(affected) = affected(found) {
        verdicts.push((ConditionType::PolicyAffected, affected));
    }
    let condition = |(type_, verdict)| condition(generation, old, type_, &verdict, now);
    verdicts.into_iter().map(condition).collect()
}

/// The old conditions, with `Programmed` and `Ready` turned by a pass that did not get to its end.
pub(super) fn interrupted(
    generation: Option<i64>,
    old: &[Condition],
    why: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let verdict = no(Reason::ApplyFailed, format!("{why}; it is tried again by itself"));
    let turned = [(ConditionType::Programmed, &verdict), (ConditionType::Ready, &verdict)];
    turn(generation, old, &turned, now)
}

/// The same for a pass that the API server let go no further, which waits for somebody.
pub(super) fn refused(
    generation: Option<i64>,
    old: &[Condition],
    why: &str,
    now: Timestamp,
) -> Vec<Condition> {
    let (verdict, stalled) = (no(Reason::ApplyFailed, why), yes(Reason::ApplyFailed, why));
    let turned = [
        (ConditionType::Programmed, &verdict),
        (ConditionType::Ready, &verdict),
        (ConditionType::Stalled, &stalled),
    ];
    turn(generation, old, &turned, now)
}

fn turn(
    generation: Option<i64>,
    old: &[Condition],
    turned: &[(ConditionType, &Verdict)],
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = old.to_vec();
    for (type_, verdict) in turned {
        let new = condition(generation, old, *type_, verdict, now);
        match conditions.iter_mut().find(|c| c.type_ == type_.as_str()) {
            Some(condition) => *condition = new,
            None => conditions.push(new),
        }
    }
    conditions
}

fn condition(
    generation: Option<i64>,
    old: &[Condition],
    type_: ConditionType,
    verdict: &Verdict,
    now: Timestamp,
) -> Condition {
    let before = old.iter().find(|c| c.type_ == type_.as_str());
    let kept = before.filter(|c| c.status == verdict.status).map(|c| c.last_transition_time.clone());
    Condition {
        type_: type_.as_str().to_owned(),
        status: verdict.status.to_owned(),
        reason: verdict.reason.as_str().to_owned(),
        message: bounded(&verdict.message),
        observed_generation: generation,
        // Whole seconds: the API server keeps no more, and what differs is written again.
        last_transition_time: kept.unwrap_or_else(|| Time(whole_seconds(now))),
    }
}

pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn problems<'a>(found: &'a Findings<'_>, type_: ConditionType) -> Vec<&'a Problem> {
    found.valid.as_ref().err().into_iter().flatten().filter(|p| p.condition == type_).collect()
}

fn accepted(found: &Findings<'_>) -> Verdict {
    let problems = problems(found, ConditionType::Accepted);
    if let Some(first) = problems.first() {
        return no(first.reason, words(&problems));
    }
    if let Some(Err(error @ ApplyError::Conflict { .. })) = &found.applied {
        return no(Reason::Conflict, error.to_string());
    }
    yes(Reason::Accepted, "the spec is valid")
}

fn resolved(found: &Findings<'_>) -> Verdict {
    let problems = problems(found, ConditionType::ResolvedRefs);
    match problems.first() {
        Some(first) => no(first.reason, words(&problems)),
        None => yes(Reason::Resolved, "every object that the spec names exists"),
    }
}

fn programmed(found: &Findings<'_>) -> Verdict {
    let own = problems(found, ConditionType::Programmed);
    if let Some(first) = own.first() {
        return no(first.reason, words(&own));
    }
    match &found.applied {
        None => blocked(found),
        Some(Err(error)) => no(
            if matches!(error, ApplyError::Conflict { .. }) { Reason::Blocked } else { Reason::ApplyFailed },
            error.to_string(),
        ),
        Some(Ok(Applied::Queued(others))) => no(
            Reason::RolloutQueued,
            format!(
                "this roll-out is the operator's own and waits for that of {} (rollouts.maxConcurrent); the pods run on",
                named(others)
            ),
        ),
        Some(Ok(Applied::Stopped(failed))) => no(
            Reason::RolloutQueued,
            format!(
                "this roll-out is the operator's own and does not begin: the same image or defaults failed on {}, and worked on \
                 none between them; it goes on when the operator's configuration changes or one of those gets well; the pods \
                 run on",
                named(failed)
            ),
        ),
        Some(Ok(Applied::Done(rollout))) => running(rollout, found),
    }
}

fn blocked(found: &Findings<'_>) -> Verdict {
    let message = if found.pods.is_some() {
        "the last good configuration stays in force until Accepted and ResolvedRefs are True"
    } else {
        "nothing is started until Accepted and ResolvedRefs are True"
    };
    no(Reason::Blocked, message)
}

fn running(rollout: &Rollout, found: &Findings<'_>) -> Verdict {
    if let Some(failure) = &rollout.failure {
        let cause = match &found.failed_defaults {
            Some(_) => " with what the operator changed, its image or defaults",
            None => "",
        };
        return no(Reason::RolloutFailed, format!("the Deployment does not get on{cause}: {failure}"));
    }
    if let Some(failure) = &found.redis_failure {
        return no(Reason::RedisUnavailable, failure.clone());
    }
    if !rollout.is_complete() {
        let Rollout { updated, wanted, available, .. } = rollout;
        let message =
            format!("{updated} of {wanted} pods have this configuration, {available} pods are available");
        return no(Reason::Progressing, message);
    }
    yes(Reason::Programmed, "all pods run this configuration")
}

fn available(found: &Findings<'_>) -> Verdict {
    match &found.pods {
        Some(pods) if pods.wanted == 0 => yes(Reason::Parked, "replicas is 0: no pod runs, as was asked for"),
        Some(pods) if pods.ready > 0 => {
            yes(Reason::Available, format!("{} of {} pods are ready", pods.ready, pods.wanted))
        }
        Some(pods) => {
            let failure = pods.failure.as_ref().map(|f| format!(": {f}")).unwrap_or_default();
            no(Reason::NoReadyPods, format!("none of {} pods is ready{failure}", pods.wanted))
        }
        None => no(Reason::NoReadyPods, "no pod was made yet"),
    }
}

fn ready(others: [&Verdict; 4], found: &Findings<'_>) -> Verdict {
    if let Some(failed) = others.into_iter().find(|verdict| verdict.status != "True") {
        return no(failed.reason, failed.message.clone());
    }
    let parked = found.pods.as_ref().is_some_and(|pods| pods.wanted == 0);
    let (reason, message) =
        if parked { (Reason::Parked, "parked: replicas is 0") } else { (Reason::Ready, "users can sign in") };
    if found.warnings.is_empty() {
        return yes(reason, message);
    }
    yes(reason, format!("{message}; note: {}", found.warnings.join("; ")))
}

fn stalled(accepted: &Verdict, resolved: &Verdict, programmed: &Verdict) -> Verdict {
    let waits = |verdict: &&&Verdict| {
        verdict.status == "False"
            && !matches!(
                verdict.reason,
                Reason::Progressing | Reason::RolloutQueued | Reason::RedisUnavailable | Reason::Blocked
            )
    };
    match [accepted, resolved, programmed].iter().find(waits) {
        Some(verdict) => yes(verdict.reason, verdict.message.clone()),
        None => no(Reason::Reconciling, "nothing waits for you"),
    }
}

fn isolated(found: &Findings<'_>) -> Verdict {
    let unknown = |reason, message: &str| Verdict { status: "Unknown", reason, message: message.to_owned() };
    match found.isolation {
        Isolation::Own => {
            yes(Reason::OwnRedisUser, "a Redis user of its own reaches this server's keys alone")
        }
        Isolation::Open => no(
            Reason::OpenRedis,
            "a Redis user of its own reaches this server's keys alone, but Redis lets in whoever has no password: give its \
             user default one (requirepass), or turn it off, and the operator a login",
        ),
        Isolation::Unseen => unknown(
            Reason::DefaultUserUnseen,
            "a Redis user of its own reaches this server's keys alone; whether Redis lets in whoever has no password the \
             operator may not look (+acl|getuser)",
        ),
        Isolation::Awaited => unknown(Reason::Pending, "its Redis user is not in force"),
        Isolation::Shared => no(
            Reason::SharedRedisUser,
            "all servers share one Redis user (redis.users: Shared): whoever takes over a gateway reaches the \
             records of every tenant",
        ),
        Isolation::Provided => unknown(
            Reason::ProvidedRedisUser,
            "the Redis user is provided in Secret gatehouse-redis; its rights are not looked at",
        ),
    }
}

fn affected(found: &Findings<'_>) -> Option<Verdict> {
    let (valid, _) = found.valid.as_ref().ok()?;
    let policy = &valid.policy;
    let lowered = match policy.capped.join("; ") {
        capped if capped.is_empty() => String::new(),
        capped => format!(", lowered by the operator's ceilings: {capped}"),
    };
    Some(match &policy.name {
        None => no(
            Reason::DefaultPolicy,
            format!("no OAuthClientPolicy targets this server; the operator's default applies{lowered}"),
        ),
        Some(name) => {
            let reason = if lowered.is_empty() { Reason::PolicyApplied } else { Reason::Capped };
            yes(reason, format!("OAuthClientPolicy {name} applies{lowered}"))
        }
    })
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
