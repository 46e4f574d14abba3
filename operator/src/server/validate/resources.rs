//! Requests and limits, canonical and in order.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource};

use super::{Checks, quantity::Quantity};
use crate::crd::{primitive::ResourceQuantity, server_gateway::Resources};

type Amounts = BTreeMap<String, resource::Quantity>;

/// Checks requests and limits; absent when something is wrong with them.
pub(super) fn check(checks: &mut Checks<'_>, given: &Resources, field: &str) -> Option<ResourceRequirements> {
    match requirements(given) {
        Ok(requirements) => Some(requirements),
        Err(wrong) => {
            for (below, message) in wrong {
                checks.invalid(format!("{field}.{below}"), message);
            }
            None
        }
    }
}

/// Requests and limits, canonical.
///
/// # Errors
/// Everything that is wrong, each with the path of its field.
pub(crate) fn requirements(given: &Resources) -> Result<ResourceRequirements, Vec<(String, String)>> {
    let mut wrong = Vec::new();
    let requests = amounts(&given.requests, "requests", &mut wrong);
    let limits = amounts(&given.limits, "limits", &mut wrong);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    for (name, request) in &requests {
        let over = |limit: &resource::Quantity| Quantity::parse(&request.0) > Quantity::parse(&limit.0);
        if let Some(limit) = limits.get(name).filter(|l| over(l)) {
            let message =
                format!("requests {} of {name}, which is more than its limit of {}", request.0, limit.0);
            return Err(vec![("requests".to_owned(), message)]);
        }
    }
    let some = |amounts: Amounts| (!amounts.is_empty()).then_some(amounts);
    Ok(ResourceRequirements { requests: some(requests), limits: some(limits), ..Default::default() })
}

fn amounts(
    given: &BTreeMap<String, ResourceQuantity>,
    field: &str,
    wrong: &mut Vec<(String, String)>,
) -> Amounts {
    let mut amounts = Amounts::new();
    for (name, text) in given {
        if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            let message = format!(
                "\"{}\" is not a resource that a gateway uses; allowed: cpu, memory, ephemeral-storage",
                name.escape_debug()
            );
            wrong.push((field.to_owned(), message));
            continue;
        }
        match Quantity::parse(&text.0) {
            Some(quantity) => drop(amounts.insert(name.clone(), resource::Quantity(quantity.canonical()))),
            None => wrong.push((
                format!("{field}.{name}"),
                format!(
                    "\"{}\" is not a quantity: a number with m, k, M, G, T, Ki, Mi, Gi or Ti, for example 250m or 64Mi",
                    text.0.escape_debug()
                ),
            )),
        }
    }
    amounts
}
