//! The policy in force, its terms, and the operator's ceilings.

use gatehouse_gateway_config::PolicyConfig;
use kube::ResourceExt;

use super::{Checks, clients};
use crate::{
    crd::{condition::Reason, policy_client::StaticClient},
    policy::{Attachment, attach, terms},
};

/// The terms in force for a server; absent when a policy is required and none targets it.
pub(super) fn check(checks: &mut Checks<'_>) -> Option<(PolicyConfig, Attachment)> {
    let settings = &checks.config.policy;
    let winner = attach(checks.server, &checks.fetched.policies).first().map(|(policy, _)| *policy);
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
    let (mut config, capped) = terms::capped(terms::config(&given), &ceilings);
    if let Some(policy) = winner {
        config.clients = policy.spec.clients.iter().map(StaticClient::config).collect();
        clients::check(checks, &policy.name_any(), &config.clients);
    }
    Some((config, Attachment { name, capped }))
}
