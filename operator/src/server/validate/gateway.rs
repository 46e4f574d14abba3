//! `spec.gateway`: the pods.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, PodAffinityTerm, ResourceRequirements, WeightedPodAffinityTerm,
};

use super::{Checks, labels, resources};
use crate::crd::{condition::Reason, server_gateway::PodTemplate};

/// More than a minute of margin would only delay a node's drain; less could cut the last answers off.
const GRACE_MARGIN: u64 = 10;

/// The pods of a valid server.
#[derive(Debug, Clone, PartialEq)]
pub struct PodSettings {
    /// The image.
    pub image: String,
    /// When the image is pulled.
    pub image_pull_policy: Option<String>,
    /// How many pods.
    pub replicas: i32,
    /// Requests and limits, canonical.
    pub resources: ResourceRequirements,
    /// How long open requests and streams may go on when a pod ends.
    pub drain_period: Duration,
    /// How long Kubernetes waits for a pod to end, in seconds: the drain and ten seconds.
    pub termination_grace_seconds: i64,
    /// What the tenant adds to the pod template, and the operator's image pull secrets.
    pub template: PodTemplate,
}

/// Checks the pods.
pub(super) fn check(checks: &mut Checks<'_>) -> Option<PodSettings> {
    let gateway = checks.server.spec.gateway.clone().unwrap_or_default();
    let defaults = &checks.config.gateway;
    let mut template = gateway.pod.unwrap_or_default();
    for name in &defaults.image_pull_secrets {
        if !template.image_pull_secrets.iter().any(|s| s.name == *name) {
            template.image_pull_secrets.push(LocalObjectReference { name: name.clone() });
        }
    }
    let drain = gateway.drain_period.0;
    // Rounded up to whole seconds, which is what Kubernetes counts in.
    let drain_seconds = drain.as_secs() + u64::from(drain.subsec_nanos() > 0);
    let settings = PodSettings {
        image: defaults.image.clone(),
        image_pull_policy: defaults.image_pull_policy.clone(),
        replicas: gateway.replicas.unwrap_or(defaults.replicas),
        resources: resources::check(
            checks,
            gateway.resources.as_ref().unwrap_or(&defaults.resources),
            "spec.gateway.resources",
        )?,
        drain_period: drain,
        termination_grace_seconds: i64::try_from(drain_seconds + GRACE_MARGIN).unwrap_or(i64::MAX),
        template,
    };
    if settings.replicas < 0 {
        checks.invalid("spec.gateway.replicas", format!("{} is below 0", settings.replicas));
    }
    template_allowed(checks, &settings.template);
    keys_once(checks, &settings.template);
    labels::check(checks, &settings.template);
    Some(settings)
}

/// The keys of the pod's list-maps: with one of them twice, nothing can be applied. The schema says so, but not always did.
fn keys_once(checks: &mut Checks<'_>, template: &PodTemplate) {
    let mut seen = BTreeSet::new();
    if let Some(twice) = template.image_pull_secrets.iter().find(|secret| !seen.insert(&secret.name)) {
        let message = format!("\"{}\" stands twice", twice.name.escape_debug());
        checks.invalid("spec.gateway.pod.imagePullSecrets", message);
    }
    let mut seen = BTreeSet::new();
    let mut spread = template.topology_spread_constraints.iter().flatten();
    if let Some(twice) = spread.find(|c| !seen.insert((&c.topology_key, &c.when_unsatisfiable))) {
        let message = format!(
            "topologyKey \"{}\" stands twice with whenUnsatisfiable \"{}\"",
            twice.topology_key.escape_debug(),
            twice.when_unsatisfiable.escape_debug()
        );
        checks.invalid("spec.gateway.pod.topologySpreadConstraints", message);
    }
}

/// Whether pods of other namespaces are meant, too: Kubernetes keeps those as far from ours as ours from them.
fn leaves_namespace(affinity: &Affinity) -> bool {
    type Required = Option<Vec<PodAffinityTerm>>;
    type Preferred = Option<Vec<WeightedPodAffinityTerm>>;
    let any = |required: &Required, preferred: &Preferred| {
        let preferred = preferred.iter().flatten().map(|weighted| &weighted.pod_affinity_term);
        required.iter().flatten().chain(preferred).any(|term| {
            term.namespace_selector.is_some()
                || term.namespaces.as_ref().is_some_and(|names| !names.is_empty())
        })
    };
    let near = affinity.pod_affinity.as_ref().is_some_and(|all| {
        any(
            &all.required_during_scheduling_ignored_during_execution,
            &all.preferred_during_scheduling_ignored_during_execution,
        )
    });
    near || affinity.pod_anti_affinity.as_ref().is_some_and(|all| {
        any(
            &all.required_during_scheduling_ignored_during_execution,
            &all.preferred_during_scheduling_ignored_during_execution,
        )
    })
}

/// What the operator's admin leaves to tenants.
fn template_allowed(checks: &mut Checks<'_>, template: &PodTemplate) {
    if !template.tolerations.is_empty() && !checks.config.gateway.allow_tolerations {
        checks.accepted(
            Reason::NotAllowed,
            "spec.gateway.pod.tolerations",
            "tolerations are not allowed here (gateway.allowTolerations of the operator's configuration)",
        );
    }
    if template.affinity.as_ref().is_some_and(leaves_namespace)
        && !checks.config.gateway.allow_cross_namespace_affinity
    {
        checks.accepted(
            Reason::NotAllowed,
            "spec.gateway.pod.affinity",
            "namespaces and namespaceSelector are not allowed here (gateway.allowCrossNamespaceAffinity of the operator's \
             configuration)",
        );
    }
    let Some(class) = &template.priority_class_name else { return };
    let allowed = &checks.config.gateway.allowed_priority_classes;
    if !allowed.contains(class) {
        let message = format!(
            "priority class \"{class}\" is not allowed; allowed: {} (gateway.allowedPriorityClasses of the operator's \
             configuration)",
            if allowed.is_empty() { "none".to_owned() } else { allowed.join(", ") }
        );
        checks.accepted(Reason::NotAllowed, "spec.gateway.pod.priorityClassName", message);
    }
}
