//! Which policy wins for a server: by name, then by a non-empty selector, then by an empty one; of equals the older,
//! then the one whose name comes first. A custom merge strategy in the sense of GEP-713.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::ResourceExt;

use crate::crd::{McpServer, OAuthClientPolicy, policy::TargetRef};

/// The policy in force for a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Its name; absent: the operator's default policy.
    pub name: Option<String>,
    /// Its UID.
    pub uid: Option<String>,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// What the operator's ceilings lowered, in words.
    pub capped: Vec<String>,
}

impl Attachment {
    /// Which edit of which policy: `UID/generation`. `None` for the operator's default policy.
    pub fn edit(&self) -> Option<String> {
        let uid = self.uid.as_ref()?;
        Some(format!("{uid}/{}", self.generation.unwrap_or_default()))
    }
}

/// How specifically a policy targets a server. The order is that of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// By an empty selector.
    Namespace,
    /// By a selector.
    Selector,
    /// By name.
    Name,
}

/// What became of one policy that targets a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force.
    Wins,
    /// A more specific one, of this name, is.
    Overridden(String),
    /// An older one of the same level, of this name, is.
    Conflicted(String),
}

/// Every policy that targets a server, with its outcome, the winner first.
pub fn attach<'a>(
    server: &McpServer,
    policies: impl IntoIterator<Item = &'a OAuthClientPolicy>,
) -> Vec<(&'a OAuthClientPolicy, Outcome)> {
    let mut targeting: Vec<(Level, &OAuthClientPolicy)> =
        policies.into_iter().filter_map(|p| level(server, p).map(|level| (level, p))).collect();
    targeting.sort_by(|(left_level, left), (right_level, right)| {
        let created = |p: &OAuthClientPolicy| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
        right_level
            .cmp(left_level)
            // A policy without a time has not reached a cluster yet and counts as the youngest.
            .then_with(|| {
                (created(left).is_none(), created(left)).cmp(&(created(right).is_none(), created(right)))
            })
            .then_with(|| left.name_any().cmp(&right.name_any()))
    });
    let Some((best, winner)) = targeting.first().map(|(level, p)| (*level, p.name_any())) else {
        return Vec::new();
    };
    let outcome = |index: usize, level: Level| match () {
        () if index == 0 => Outcome::Wins,
        () if level == best => Outcome::Conflicted(winner.clone()),
        () => Outcome::Overridden(winner.clone()),
    };
    targeting.iter().enumerate().map(|(index, (level, p))| (*p, outcome(index, *level))).collect()
}

/// How specifically a policy targets a server, if it does.
pub fn level(server: &impl ResourceExt, policy: &OAuthClientPolicy) -> Option<Level> {
    if server.namespace() != policy.namespace() {
        return None;
    }
    level_of(server, &policy.spec.target_refs)
}

/// How specifically one of some targets names a server of their namespace.
pub(super) fn level_of(server: &impl ResourceExt, targets: &[TargetRef]) -> Option<Level> {
    let by = targets.iter().filter_map(|target| match (&target.name, &target.selector) {
        (Some(name), _) => (*name == server.name_any()).then_some(Level::Name),
        (None, Some(selector)) if is_empty(selector) => Some(Level::Namespace),
        (None, Some(selector)) => matches(selector, server).then_some(Level::Selector),
        (None, None) => None,
    });
    by.max()
}

fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

fn matches(selector: &LabelSelector, server: &impl ResourceExt) -> bool {
    let labels = server.labels();
    selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|requirement| meets(requirement, server))
}

/// Whether [`meets`] knows an operator of a selector.
pub(super) fn is_known_operator(operator: &str) -> bool {
    matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist")
}

fn meets(requirement: &LabelSelectorRequirement, server: &impl ResourceExt) -> bool {
    let value = server.labels().get(&requirement.key);
    let listed = || value.is_some_and(|v| requirement.values.iter().flatten().any(|r| r == v));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        // The CRD refuses any other, and a policy that an older one let in is not read (`guarded`).
        _ => false,
    }
}
