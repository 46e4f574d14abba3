//! The status of a policy over its targets: pure.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::{
    attach::{Outcome, attach},
    guarded::UnreadablePolicy,
};
use crate::{
    crd::{
        GROUP, McpServer, OAuthClientPolicy, OAuthClientPolicyStatus,
        condition::{ConditionType, Problem, Reason},
        policy_status::{AncestorRef, AncestorStatus, TargetCounts},
        server_status::PolicyStatusRef,
    },
    server::status::bounded,
};

/// Who writes the entries of `ancestors`, where it is the only one: see [`controller_name`].
const CONTROLLER_NAME: &str = "gatehouse.dev/operator";
/// How many single targets a status names (GEP-713).
const MOST_ANCESTORS: usize = 16;

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Verdict {
    holds: bool,
    reason: Reason,
    message: String,
}

impl Verdict {
    fn new(holds: bool, reason: Reason, message: impl Into<String>) -> Self {
        Self { holds, reason, message: message.into() }
    }
}

/// One target.
struct Target {
    name: String,
    accepted: Verdict,
    programmed: Verdict,
}

/// The servers and policies of a namespace, as an operator sees them that may be one of several.
#[derive(Debug, Clone, Copy)]
pub struct Namespace<'a> {
    /// The servers that are this operator's.
    pub servers: &'a [McpServer],
    /// Those that are other operators'.
    pub others: &'a [McpServer],
    /// The policies, which they share.
    pub policies: &'a [OAuthClientPolicy],
    /// By what name this operator signs its entries.
    pub controller: &'a str,
}

/// By what name an operator signs its entries of `ancestors`. Several that share a namespace are told apart by their label
/// selectors.
pub fn controller_name(selector: Option<&str>) -> String {
    match selector {
        Some(selector) => {
            let words: Vec<&str> = selector.split_whitespace().collect();
            format!("{CONTROLLER_NAME}/{}", words.join("+"))
        }
        None => CONTROLLER_NAME.to_owned(),
    }
}

/// The status of a policy after an older one. What it says over all targets is over those of other operators, too, so that
/// each of them comes to the same; the entry of a target is written by the operator whose it is, and kept by the others.
pub fn status(
    policy: &OAuthClientPolicy,
    old: &OAuthClientPolicyStatus,
    namespace: &Namespace<'_>,
    now: Timestamp,
) -> OAuthClientPolicyStatus {
    let generation = policy.metadata.generation;
    let of = |servers: &[McpServer]| -> Vec<Target> {
        servers.iter().filter_map(|s| target(policy, s, namespace.policies)).collect()
    };
    let (ours, theirs) = (of(namespace.servers), of(namespace.others));
    let mut ancestors: Vec<AncestorStatus> = ours
        .iter()
        .map(|t| {
            let before = old.ancestors.iter().find(|a| a.ancestor_ref.name == t.name);
            let before = before.map(|a| a.conditions.as_slice()).unwrap_or_default();
            let name = t.name.clone();
            AncestorStatus {
                ancestor_ref: AncestorRef { group: GROUP.to_owned(), kind: "McpServer".to_owned(), name },
                controller_name: namespace.controller.to_owned(),
                conditions: conditions(generation, before, (t.accepted.clone(), t.programmed.clone()), now),
            }
        })
        .collect();
    let is_theirs = |a: &&AncestorStatus| {
        a.controller_name != namespace.controller && theirs.iter().any(|t| t.name == a.ancestor_ref.name)
    };
    ancestors.extend(old.ancestors.iter().filter(is_theirs).cloned());
    // What is wrong first, then by name, so that the same world gives the same status.
    ancestors.sort_by_cached_key(|a| {
        let is_well = a.conditions.iter().all(|c| c.status == "True");
        (is_well, a.ancestor_ref.name.clone(), a.controller_name.clone())
    });
    ancestors.truncate(MOST_ANCESTORS);

    let mut targets: Vec<Target> = ours.into_iter().chain(theirs).collect();
    targets.sort_by_cached_key(|t| (t.accepted.holds && t.programmed.holds, t.name.clone()));
    let count = |matches: &dyn Fn(&Target) -> bool| {
        i32::try_from(targets.iter().filter(|t| matches(t)).count()).unwrap_or(i32::MAX)
    };
    let invalid = super::check::problems(&policy.spec);
    let counts = TargetCounts {
        matched: count(&|_| true),
        programmed: count(&|t| t.programmed.holds),
        overridden: count(&|t| t.programmed.reason == Reason::Overridden),
    };
    let conditions =
        conditions(generation, &old.conditions, (accepted(&invalid, &targets), programmed(&targets)), now);
    OAuthClientPolicyStatus { observed_generation: generation, targets: Some(counts), conditions, ancestors }
}

/// The status of a policy that cannot be read: whom it is for is not known, so no target is named.
pub(super) fn unreadable(
    policy: &UnreadablePolicy,
    old: &OAuthClientPolicyStatus,
    message: &str,
    now: Timestamp,
) -> OAuthClientPolicyStatus {
    let generation = policy.metadata.generation;
    let verdict = || Verdict::new(false, Reason::Invalid, message);
    let conditions = conditions(generation, &old.conditions, (verdict(), verdict()), now);
    OAuthClientPolicyStatus {
        observed_generation: generation,
        targets: None,
        conditions,
        ancestors: Vec::new(),
    }
}

/// What became of the policy for one server; `None` when it does not target it.
fn target(policy: &OAuthClientPolicy, server: &McpServer, policies: &[OAuthClientPolicy]) -> Option<Target> {
    let name = policy.name_any();
    let (_, outcome) = attach(server, policies).into_iter().find(|(p, _)| p.name_any() == name)?;
    let accepted = Verdict::new(true, Reason::Accepted, "the policy is valid");
    let (accepted, programmed) = match outcome {
        Outcome::Wins => (accepted, running(policy, server)),
        Outcome::Overridden(by) => {
            let message = format!("OAuthClientPolicy {by} targets this server more specifically");
            (accepted, Verdict::new(false, Reason::Overridden, message))
        }
        Outcome::Conflicted(by) => {
            let message = format!("OAuthClientPolicy {by} is older and targets this server in the same way");
            let conflicted = Verdict::new(false, Reason::Conflicted, message);
            (conflicted.clone(), conflicted)
        }
    };
    Some(Target { name: server.name_any(), accepted, programmed })
}

/// Whether a server runs with the terms of the policy that won, as they are now.
fn running(policy: &OAuthClientPolicy, server: &McpServer) -> Verdict {
    let status = server.status.clone().unwrap_or_default();
    let programmed = status.conditions.iter().find(|c| c.type_ == ConditionType::Programmed.as_str());
    let current =
        programmed.filter(|c| c.status == "True" && c.observed_generation == server.metadata.generation);
    let meta = &policy.metadata;
    let has = |p: &PolicyStatusRef| {
        Some(&p.name) == meta.name.as_ref() && p.uid == meta.uid && p.generation == meta.generation
    };
    if current.is_some() && status.policy.as_ref().is_some_and(has) {
        return Verdict::new(true, Reason::Programmed, "the server's pods run with this policy");
    }
    let why = programmed.map_or("not looked at yet", |c| c.message.as_str());
    Verdict::new(false, Reason::Progressing, format!("the server does not run with this policy yet: {why}"))
}

fn accepted(invalid: &[Problem], targets: &[Target]) -> Verdict {
    if !invalid.is_empty() {
        let all: Vec<String> = invalid.iter().map(Problem::to_string).collect();
        return Verdict::new(false, Reason::Invalid, bounded(&all.join("; ")));
    }
    if targets.is_empty() {
        return Verdict::new(false, Reason::TargetNotFound, "no McpServer of this namespace is a target");
    }
    let conflicts: Vec<&str> =
        targets.iter().filter(|t| !t.accepted.holds).map(|t| t.name.as_str()).collect();
    match targets.iter().find(|t| !t.accepted.holds) {
        Some(first) => {
            let message = format!("{}: {}", named(&conflicts), first.accepted.message);
            Verdict::new(false, Reason::Conflicted, message)
        }
        None => Verdict::new(true, Reason::Accepted, "the policy is valid"),
    }
}

fn programmed(targets: &[Target]) -> Verdict {
    let failing: Vec<&Target> = targets.iter().filter(|t| !t.programmed.holds).collect();
    let Some(first) = failing.first() else {
        return if targets.is_empty() {
            Verdict::new(false, Reason::TargetNotFound, "no McpServer of this namespace is a target")
        } else {
            Verdict::new(true, Reason::Programmed, "all targets run with this policy")
        };
    };
    let names: Vec<&str> = failing.iter().map(|t| t.name.as_str()).collect();
    let message = format!("{}: {}", named(&names), first.programmed.message);
    if failing.len() < targets.len() {
        return Verdict::new(false, Reason::PartiallyProgrammed, message);
    }
    let all = |reason| failing.iter().all(|t| t.programmed.reason == reason);
    let reason = [Reason::Overridden, Reason::Conflicted].into_iter().find(|r| all(*r));
    Verdict::new(false, reason.unwrap_or(Reason::Progressing), message)
}

/// Up to three names, and how many more.
fn named(names: &[&str]) -> String {
    let shown = names.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 3 { format!("{shown} and {} more", names.len() - 3) } else { shown }
}

fn conditions(
    generation: Option<i64>,
    old: &[Condition],
    (accepted, programmed): (Verdict, Verdict),
    now: Timestamp,
) -> Vec<Condition> {
    let both = [(ConditionType::Accepted, accepted), (ConditionType::Programmed, programmed)];
    let made = both.into_iter().map(|(type_, verdict)| {
        let status = if verdict.holds { "True" } else { "False" };
        let before = old.iter().find(|c| c.type_ == type_.as_str() && c.status == status);
        // Whole seconds: the API server keeps no more, and what differs is written again.
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Condition {
            type_: type_.as_str().to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.as_str().to_owned(),
            message: verdict.message,
            observed_generation: generation,
            last_transition_time: before.map_or(Time(now), |c| c.last_transition_time.clone()),
        }
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use std::slice;

    use serde_json::{Value, json};

    use super::*;

    fn policy(name: &str, created: &str, target: &Value) -> OAuthClientPolicy {
        serde_json::from_value(json!({
            "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy",
            "metadata": { "name": name, "namespace": "a", "uid": name, "generation": 2, "creationTimestamp": created },
            "spec": { "targetRefs": [target] }
        }))
        .unwrap()
    }

    fn server(name: &str, running: Option<&str>) -> McpServer {
        let status = running.map(|policy| {
            json!({ "policy": { "name": policy, "uid": policy, "generation": 2 }, "conditions": [{ "type": "Programmed", "status": "True",
                "reason": "Programmed", "message": "", "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z" }] })
        });
        serde_json::from_value(json!({
            "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
            "metadata": { "name": name, "namespace": "a", "generation": 1 },
            "spec": { "url": "https://h.example.com/mcp", "identity": {}, "access": {}, "backends": [] },
            "status": status,
        }))
        .unwrap()
    }

    fn reasons(status: &OAuthClientPolicyStatus) -> (String, String) {
        (status.conditions[0].reason.clone(), status.conditions[1].reason.clone())
    }

    fn of(
        policy: &OAuthClientPolicy,
        servers: &[McpServer],
        all: &[OAuthClientPolicy],
    ) -> OAuthClientPolicyStatus {
        after(policy, &OAuthClientPolicyStatus::default(), servers, all, 0)
    }

    fn after(
        policy: &OAuthClientPolicy,
        old: &OAuthClientPolicyStatus,
        servers: &[McpServer],
        policies: &[OAuthClientPolicy],
        second: i64,
    ) -> OAuthClientPolicyStatus {
        let namespace = Namespace { servers, others: &[], policies, controller: CONTROLLER_NAME };
        status(policy, old, &namespace, Timestamp::from_second(second).unwrap())
    }

    const OLD: &str = "2026-01-01T00:00:00Z";
    const NEW: &str = "2026-02-01T00:00:00Z";

    #[test]
    fn without_a_target_it_says_so() {
        let only = policy("p", OLD, &json!({ "name": "missing" }));
        let status = of(&only, &[server("s", None)], std::slice::from_ref(&only));
        assert_eq!(reasons(&status), ("TargetNotFound".to_owned(), "TargetNotFound".to_owned()));
    }

    #[test]
    fn a_target_that_runs_with_it_is_programmed() {
        let only = policy("p", OLD, &json!({ "selector": {} }));
        let all = std::slice::from_ref(&only);
        let status = of(&only, &[server("s", Some("p"))], all);
        assert_eq!(reasons(&status), ("Accepted".to_owned(), "Programmed".to_owned()));
        assert_eq!(status.targets, Some(TargetCounts { matched: 1, programmed: 1, overridden: 0 }));
        let behind = of(&only, &[server("s", Some("p")), server("t", None)], all);
        assert_eq!(reasons(&behind).1, "PartiallyProgrammed");
        assert_eq!(behind.ancestors[0].ancestor_ref.name, "t", "what is wrong stands first");
        assert!(behind.conditions[1].message.starts_with("t: "), "{}", behind.conditions[1].message);
    }

    #[test]
    fn the_sixteen_that_are_told_are_those_that_fail() {
        let only = policy("p", OLD, &json!({ "selector": {} }));
        let running = (0..20).map(|n| server(&format!("s{n:02}"), Some("p")));
        let behind = (0..3).map(|n| server(&format!("t{n}"), None));
        let status = of(&only, &running.chain(behind).collect::<Vec<_>>(), std::slice::from_ref(&only));
        assert_eq!(status.targets, Some(TargetCounts { matched: 23, programmed: 20, overridden: 0 }));
        let told: Vec<_> = status.ancestors.iter().map(|a| a.ancestor_ref.name.as_str()).collect();
        assert_eq!(
            (told.len(), &told[..4]),
            (16, &["t0", "t1", "t2", "s00"][..]),
            "the schema takes no more"
        );
    }

    #[test]
    fn terms_that_no_pod_has_are_not_programmed() {
        let only = policy("p", OLD, &json!({ "selector": {} }));
        let servers = [server("s", Some("p"))];
        let reason =
            |policy: OAuthClientPolicy| reasons(&of(&policy, &servers, std::slice::from_ref(&policy))).1;
        assert_eq!(reason(only.clone()), "Programmed");
        let mut edited = only.clone();
        edited.metadata.generation = Some(3);
        assert_eq!(reason(edited), "Progressing");
        let mut another = only;
        another.metadata.uid = Some("another of the same name".to_owned());
        assert_eq!(reason(another), "Progressing");
    }

    #[test]
    fn the_more_specific_wins_and_the_other_is_overridden() {
        let wide = policy("wide", OLD, &json!({ "selector": {} }));
        let narrow = policy("narrow", NEW, &json!({ "name": "s" }));
        let all = [wide.clone(), narrow.clone()];
        let servers = [server("s", Some("narrow"))];
        assert_eq!(reasons(&of(&narrow, &servers, &all)), ("Accepted".to_owned(), "Programmed".to_owned()));
        let loser = of(&wide, &servers, &all);
        assert_eq!(reasons(&loser), ("Accepted".to_owned(), "Overridden".to_owned()));
        assert_eq!(loser.targets, Some(TargetCounts { matched: 1, programmed: 0, overridden: 1 }));
    }

    #[test]
    fn of_equals_the_younger_is_conflicted() {
        let older = policy("z", OLD, &json!({ "selector": {} }));
        let younger = policy("a", NEW, &json!({ "selector": {} }));
        let status = of(&younger, &[server("s", Some("z"))], &[older, younger.clone()]);
        assert_eq!(reasons(&status), ("Conflicted".to_owned(), "Conflicted".to_owned()));
        assert!(status.conditions[0].message.contains("OAuthClientPolicy z"), "{:?}", status.conditions[0]);
    }

    #[test]
    fn what_cannot_work_is_invalid_before_anything_else() {
        let mut broken = policy("p", OLD, &json!({ "selector": {} }));
        broken.spec.redirect_uris = Some(serde_json::from_value(json!({ "allow": ["https://*"] })).unwrap());
        for servers in [&[server("s", Some("p"))][..], &[]] {
            let status = of(&broken, servers, std::slice::from_ref(&broken));
            assert_eq!(status.conditions[0].reason, "Invalid");
            let message = &status.conditions[0].message;
            assert!(message.contains("spec.redirectUris.allow[0]: before /*"), "{message}");
        }
    }

    #[test]
    fn the_same_world_gives_the_same_status() {
        let only = policy("p", OLD, &json!({ "selector": {} }));
        let servers = [server("s", Some("p")), server("t", None)];
        let all = std::slice::from_ref(&only);
        let first = of(&only, &servers, all);
        let later = after(&only, &first, &servers, all, 99);
        assert_eq!(first, later);
    }

    /// What one of two operators says of a policy for all servers, after an older status.
    fn by(
        controller: &str,
        old: &OAuthClientPolicyStatus,
        servers: &[McpServer],
        others: &[McpServer],
        second: i64,
    ) -> OAuthClientPolicyStatus {
        let only = policy("p", OLD, &json!({ "selector": {} }));
        let policies = std::slice::from_ref(&only);
        let namespace = Namespace { servers, others, policies, controller };
        status(&only, old, &namespace, Timestamp::from_second(second).unwrap())
    }

    fn signed(status: &OAuthClientPolicyStatus) -> Vec<(&str, &str)> {
        status.ancestors.iter().map(|a| (a.ancestor_ref.name.as_str(), a.controller_name.as_str())).collect()
    }

    #[test]
    fn two_operators_say_the_same_and_each_signs_its_own() {
        let blue = [server("a", Some("p")), server("b", None)];
        let green = [server("c", Some("p"))];
        let first = by("blue", &OAuthClientPolicyStatus::default(), &blue, &green, 1);
        assert_eq!(first.targets, Some(TargetCounts { matched: 3, programmed: 2, overridden: 0 }));
        assert_eq!(signed(&first), [("b", "blue"), ("a", "blue")], "of the other's it says nothing");
        let second = by("green", &first, &green, &blue, 2);
        assert_eq!(signed(&second), [("b", "blue"), ("a", "blue"), ("c", "green")]);
        assert_eq!((&second.targets, &second.conditions), (&first.targets, &first.conditions));
        assert_eq!(by("blue", &second, &blue, &green, 3), second, "neither writes again");
        assert_eq!(by("green", &second, &green, &blue, 4), second);
    }

    #[test]
    fn an_entry_goes_with_its_server_and_changes_hands_with_it() {
        let (a, b) = (server("a", Some("p")), server("b", Some("p")));
        let first =
            by("blue", &OAuthClientPolicyStatus::default(), slice::from_ref(&a), slice::from_ref(&b), 1);
        let both = by("green", &first, slice::from_ref(&b), slice::from_ref(&a), 1);
        let taken = by("green", &both, &[a.clone(), b.clone()], &[], 2);
        assert_eq!(signed(&taken), [("a", "green"), ("b", "green")]);
        assert_eq!(
            signed(&by("blue", &both, &[], &[a, b.clone()], 2)),
            [("b", "green")],
            "it signs for none"
        );
        assert_eq!(signed(&by("green", &both, &[b], &[], 2)), [("b", "green")], "that one was deleted");
    }

    #[test]
    fn operators_are_told_apart_by_what_they_select() {
        assert_eq!(controller_name(None), "gatehouse.dev/operator");
        assert_eq!(controller_name(Some("a=b, c in (d)")), "gatehouse.dev/operator/a=b,+c+in+(d)");
    }
}
