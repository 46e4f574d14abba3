//! The policy in force, its terms, and the operator's ceilings.

use gatehouse_gateway_config::PolicyConfig;
use kube::ResourceExt;

use super::{Checks, clients};
use crate::{
    crd::condition::{Problem, Reason},
    policy::{
        Attachment, attach,
        attach::{Level, level},
        terms,
    },
};

/// The terms in force for a server; absent when a policy is required and none targets it.
pub(super) fn check(checks: &mut Checks<'_>) -> Option<(PolicyConfig, Attachment)> {
    let settings = &checks.config.policy;
    let winner = attach(checks.server, &checks.fetched.policies.readable).first().map(|(policy, _)| *policy);
    if let Some(problem) = unreadable(checks, winner.and_then(|p| level(checks.server, p))) {
        checks.problems.push(problem);
        return None;
    }
    let name = winner.and_then(|p| p.metadata.name.clone());
    if winner.is_none() && settings.required {
        let message = format!(
            "no OAuthClientPolicy of namespace \"{}\" targets this server, and one is required (policy.required of the \
             operator's configuration); create one with targetRefs: [{{selector: {{}}}}]",
            checks.namespace
        );
        checks.accepted(Reason::NoPolicy, "metadata.name", message);
        return None;
    }
    let given = match winner {
        Some(policy) => terms::of_policy(&policy.spec),
        None => settings.default.clone().unwrap_or_default(),
    };
    let ceilings = settings.ceilings.clone().unwrap_or_default();
    let on_loopback = checks.server.spec.url.starts_with("http://");
    let (mut config, capped) = terms::capped(terms::config(&given), &ceilings, on_loopback);
    if let Some(policy) = winner {
        config.clients = clients::check(checks, &policy.name_any(), &policy.spec);
    }
    let meta = winner.map(|policy| &policy.metadata);
    let (uid, generation) = (meta.and_then(|m| m.uid.clone()), meta.and_then(|m| m.generation));
    Some((config, Attachment { name, uid, generation, capped }))
}

/// A policy that cannot be read and may be the one in force. Without it another would be, or the default: a server must
/// not become laxer because nobody can read how strict it is.
fn unreadable(checks: &Checks<'_>, best: Option<Level>) -> Option<Problem> {
    let policies = &checks.fetched.policies.unreadable;
    let found = policies.iter().find(|policy| policy.may_win(checks.server, best))?;
    let message = format!(
        "OAuthClientPolicy \"{}\" is for this server, or may be, and cannot be read ({}); correct or delete it",
        found.metadata.name.as_deref().unwrap_or_default(),
        found.error
    );
    Some(Problem::accepted(Reason::PolicyUnreadable, "metadata.name", message))
}
