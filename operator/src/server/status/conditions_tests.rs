use std::collections::BTreeSet;

use super::*;
use crate::{
    config::OperatorConfig,
    crd::{McpServer, McpServerStatus},
    server::{
        build::build,
        fetch::{Fetched, Keys, ServerName},
        validate::{ValidatedServer, validate},
    },
};

fn server() -> McpServer {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
        "metadata": { "name": "s", "namespace": "a", "generation": 3 },
        "spec": { "url": "https://h.example.com/mcp", "identity": {}, "access": {}, "backends": [] }
    }))
    .unwrap()
}

fn findings<'a>(problems: Vec<Problem>) -> Findings<'a> {
    Findings {
        valid: Err(problems),
        applied: None,
        pods: None,
        keys: Keys::Offline,
        isolation: Isolation::Own,
        redis_failure: None,
        redis_is_away: false,
        warnings: Vec::new(),
        failed_defaults: None,
    }
}

fn complete() -> Rollout {
    Rollout {
        generation: 1,
        observed: 1,
        wanted: 2,
        replicas: 2,
        updated: 2,
        ready: 2,
        available: 2,
        ..Rollout::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn find(conditions: &[Condition], type_: ConditionType) -> (String, String, String) {
    let c = conditions.iter().find(|c| c.type_ == type_.as_str()).unwrap();
    (c.status.clone(), c.reason.clone(), c.message.clone())
}

/// Whatever `validate` said, with an apply that went through: what is looked at is the apply.
fn applied(result: Result<Applied, ApplyError>, pods: Option<Rollout>) -> Findings<'static> {
    Findings { applied: Some(result), pods, ..findings(Vec::new()) }
}

#[test]
fn every_condition_names_the_generation_and_stands_once() {
    let all = all(Some(3), &[], &applied(Ok(Applied::Done(complete())), Some(complete())), at(1));
    let types: BTreeSet<&str> = all.iter().map(|c| c.type_.as_str()).collect();
    assert_eq!(types.len(), all.len());
    assert!(all.iter().all(|c| c.observed_generation == Some(3)));
    assert_eq!(find(&all, ConditionType::Ready).0, "True");
    assert_eq!(find(&all, ConditionType::Stalled).0, "False");
}

#[test]
fn a_time_moves_only_when_the_status_flips() {
    let first =
        all(Some(3), &[], &findings(vec![Problem::accepted(Reason::Invalid, "spec.url", "bad")]), at(1));
    let other = findings(vec![Problem::accepted(Reason::HostConflict, "spec.url", "taken")]);
    let second = all(Some(3), &first, &other, at(9));
    assert!(second.iter().all(|c| c.last_transition_time.0 == at(1)), "only reason and message changed");
    let third = all(Some(3), &second, &applied(Ok(Applied::Done(complete())), Some(complete())), at(20));
    let accepted = third.iter().find(|c| c.type_ == "Accepted").unwrap();
    assert_eq!(accepted.last_transition_time.0, at(20));
}

#[test]
fn all_problems_of_a_condition_are_told_at_once_and_stall() {
    let found = findings(vec![
        Problem::accepted(Reason::Invalid, "spec.url", "is not canonical"),
        Problem::refs(Reason::RefNotFound, "spec.identity", "Secret x does not exist"),
        Problem::accepted(Reason::HostConflict, "spec.url", "is taken"),
    ]);
    let all = all(Some(3), &[], &found, at(1));
    let (status, reason, message) = find(&all, ConditionType::Accepted);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Invalid"));
    assert_eq!(message, "spec.url: is not canonical; spec.url: is taken");
    assert_eq!(find(&all, ConditionType::ResolvedRefs).1, "RefNotFound");
    assert_eq!(find(&all, ConditionType::Programmed).1, "Blocked");
    assert_eq!(find(&all, ConditionType::Ready), find(&all, ConditionType::Accepted));
    assert_eq!(find(&all, ConditionType::Stalled).0, "True");
}

#[test]
fn what_runs_stays_available_when_a_new_spec_is_wrong() {
    let found = Findings {
        pods: Some(complete()),
        ..findings(vec![Problem::accepted(Reason::Invalid, "spec.url", "bad")])
    };
    let all = all(Some(3), &[], &found, at(1));
    assert_eq!(find(&all, ConditionType::Available).0, "True");
    assert!(find(&all, ConditionType::Programmed).2.contains("last good configuration"));
    assert_eq!(find(&all, ConditionType::Ready).0, "False");
}

/// Error → what `kubectl describe` shows.
#[test]
fn each_failure_after_validation_has_its_words() {
    let failed = Rollout { failure: Some("quota exceeded".to_owned()), available: 0, ready: 0, ..complete() };
    let behind = Rollout { updated: 1, ..complete() };
    let conflict = ApplyError::Conflict {
        kind: "Service".into(),
        name: "s-gateway".into(),
        held_by: "has no owner".into(),
    };
    let refused = ApplyError::Refused {
        kind: "Deployment".into(),
        name: "s-gateway".into(),
        message: "forbidden".into(),
    };
    let cases = [
        (
            applied(Err(conflict), None),
            ConditionType::Accepted,
            "Conflict",
            "Service s-gateway exists and has no owner",
        ),
        (
            applied(Err(refused), None),
            ConditionType::Programmed,
            "ApplyFailed",
            "refused Deployment s-gateway",
        ),
        (
            applied(Ok(Applied::Queued(Vec::new())), Some(complete())),
            ConditionType::Programmed,
            "RolloutQueued",
            "maxConcurrent",
        ),
        (
            applied(Ok(Applied::Stopped(Vec::new())), Some(complete())),
            ConditionType::Programmed,
            "RolloutQueued",
            "does not begin",
        ),
        (
            Findings {
                failed_defaults: Some("abc".to_owned()),
                ..applied(Ok(Applied::Done(failed.clone())), Some(failed.clone()))
            },
            ConditionType::Programmed,
            "RolloutFailed",
            "does not get on with what the operator changed, its image or defaults: quota",
        ),
        (
            applied(Ok(Applied::Done(failed.clone())), Some(failed)),
            ConditionType::Programmed,
            "RolloutFailed",
            "quota exceeded",
        ),
        (
            applied(Ok(Applied::Done(behind.clone())), Some(behind)),
            ConditionType::Programmed,
            "Progressing",
            "1 of 2 pods have this configuration",
        ),
    ];
    for (found, type_, reason, text) in cases {
        let all = all(Some(3), &[], &found, at(1));
        let (status, found_reason, message) = find(&all, type_);
        assert_eq!((status.as_str(), found_reason.as_str()), ("False", reason));
        assert!(message.contains(text), "{message}");
        assert_eq!(find(&all, ConditionType::Ready).0, "False");
    }
}

#[test]
fn a_redis_that_is_away_is_said_and_waits_for_nobody() {
    let found = Findings {
        redis_failure: Some("Redis at redis://r:1 cannot be used: refused".to_owned()),
        ..applied(Ok(Applied::Done(complete())), Some(complete()))
    };
    let all = all(Some(3), &[], &found, at(1));
    assert_eq!(find(&all, ConditionType::Programmed).1, "RedisUnavailable");
    assert_eq!(find(&all, ConditionType::Available).0, "True");
    assert_eq!(find(&all, ConditionType::Stalled).0, "False");
}

#[test]
fn a_warning_is_read_in_ready() {
    let found = Findings {
        warnings: vec!["Redis evicts".to_owned()],
        ..applied(Ok(Applied::Done(complete())), Some(complete()))
    };
    let (status, _, message) = find(&all(Some(3), &[], &found, at(1)), ConditionType::Ready);
    assert!(status == "True" && message.contains("Redis evicts"), "{message}");
}

#[test]
fn parked_is_ready() {
    let parked = Rollout { generation: 1, observed: 1, ..Rollout::default() };
    let all = all(Some(3), &[], &applied(Ok(Applied::Done(parked.clone())), Some(parked)), at(1));
    assert_eq!(find(&all, ConditionType::Available).1, "Parked");
    assert_eq!(find(&all, ConditionType::Ready).1, "Parked");
}

#[test]
fn who_else_reaches_the_records_is_said_on_every_server() {
    for (isolation, status, reason) in [
        (Isolation::Own, "True", "OwnRedisUser"),
        (Isolation::Open, "False", "OpenRedis"),
        (Isolation::Unseen, "Unknown", "DefaultUserUnseen"),
        (Isolation::Awaited, "Unknown", "Pending"),
        (Isolation::Shared, "False", "SharedRedisUser"),
        (Isolation::Provided, "Unknown", "ProvidedRedisUser"),
    ] {
        let found = Findings { isolation, ..findings(Vec::new()) };
        let (found_status, found_reason, _) =
            find(&all(Some(3), &[], &found, at(1)), ConditionType::TenantIsolated);
        assert_eq!((found_status.as_str(), found_reason.as_str()), (status, reason));
    }
}

#[test]
fn pods_that_are_not_ready_are_said_while_nothing_waits_for_the_user() {
    let starting = Rollout { ready: 0, available: 0, ..complete() };
    for pods in [Some(starting.clone()), None] {
        let found = Findings { pods, ..applied(Ok(Applied::Done(starting.clone())), None) };
        let all = all(Some(3), &[], &found, at(1));
        let (status, reason, message) = find(&all, ConditionType::Available);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "NoReadyPods"), "{message}");
        let (status, reason, _) = find(&all, ConditionType::Stalled);
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Reconciling"));
    }
}

/// A server in which nothing is wrong.
fn valid() -> ValidatedServer {
    let mut server = serde_json::to_value(server()).unwrap();
    server["spec"]["identity"] =
        serde_json::json!({ "oidc": { "issuer": "https://sso.example.com", "clientId": "x" } });
    server["spec"]["access"] = serde_json::json!({ "everyone": {} });
    server["spec"]["backends"] = serde_json::json!([{ "name": "b", "url": "https://b.example.com/mcp" }]);
    let server: McpServer = serde_json::from_value(server).unwrap();
    let fetched = Fetched { assume_refs: true, ..Fetched::default() };
    validate(&server, &fetched, &OperatorConfig::offline()).unwrap()
}

/// What a server says that is valid under a policy, or under none.
fn under(policy: Option<&str>, capped: &[&str]) -> (String, String, String) {
    let mut valid = valid();
    valid.policy.name = policy.map(str::to_owned);
    valid.policy.capped = capped.iter().map(|&text| text.to_owned()).collect();
    let desired = build(&valid);
    let found = Findings { valid: Ok((&valid, &desired)), ..findings(Vec::new()) };
    find(&all(Some(3), &[], &found, at(1)), ConditionType::PolicyAffected)
}

#[test]
fn the_policy_in_force_and_what_was_lowered_are_said() {
    let capped = ["lifetimes.accessToken from 1h to 10m"];
    for (policy, capped, status, reason) in [
        (None, &[][..], "False", "DefaultPolicy"),
        (None, &capped, "False", "DefaultPolicy"),
        (Some("strict"), &[], "True", "PolicyApplied"),
        (Some("strict"), &capped, "True", "Capped"),
    ] {
        let (found, found_reason, message) = under(policy, capped);
        assert_eq!((found.as_str(), found_reason.as_str()), (status, reason));
        assert_eq!(message.contains("from 1h to 10m"), !capped.is_empty(), "{message}");
    }
}

#[test]
fn who_waits_is_told_for_whom() {
    let name = |name: &str| ServerName { namespace: "b".to_owned(), name: name.to_owned() };
    let queued = |others: &[&str]| {
        let others = others.iter().map(|other| name(other)).collect();
        let found = applied(Ok(Applied::Queued(others)), Some(complete()));
        find(&all(Some(3), &[], &found, at(1)), ConditionType::Programmed).2
    };
    assert!(queued(&["one"]).contains("that of McpServer b/one (rollouts"), "{}", queued(&["one"]));
    assert!(queued(&["1", "2", "3", "4", "5"]).contains("b/3 and 2 more"));
}

#[test]
fn defaults_that_failed_stay_in_the_status_until_they_work() {
    let valid = valid();
    let desired = build(&valid);
    let status = |old: &McpServerStatus, result, failed: Option<&str>| {
        let failed_defaults = failed.map(str::to_owned);
        let found = Findings { failed_defaults, ..applied(Ok(result), Some(complete())) };
        let found = Findings { valid: Ok((&valid, &desired)), ..found };
        crate::server::status::status(&server(), old, &found, at(1))
    };
    let done = || Applied::Done(complete());
    let failed = status(&McpServerStatus::default(), done(), Some("abc"));
    assert_eq!(failed.failed_defaults.as_deref(), Some("abc"));
    assert_eq!(status(&failed, Applied::Queued(Vec::new()), None).failed_defaults.as_deref(), Some("abc"));
    assert_eq!(status(&failed, done(), None).failed_defaults, None);
}

#[test]
fn lost_keys_do_not_leave_the_status() {
    let old: McpServerStatus = serde_json::from_value(
        serde_json::json!({ "keys": { "secret": "s-gateway-keys", "instance": "abc" } }),
    )
    .unwrap();
    let found = Findings { keys: Keys::Lost { instance: "abc".to_owned() }, ..findings(Vec::new()) };
    let new = crate::server::status::status(&server(), &old, &found, at(1));
    assert_eq!(new.keys, old.keys);
    assert_eq!(new.observed_generation, Some(3));
}
