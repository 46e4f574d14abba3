//! Requests and limits, canonical and in order.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ResourceRequirements, apimachinery::pkg::api::resource};

use super::{Checks, quantity::Quantity};
use crate::crd::{primitive::ResourceQuantity, server_gateway::Resources};

type Amounts = BTreeMap<String, resource::Quantity>;

/// Checks requests and limits; absent when something is wrong with them.
pub(super) fn check(checks: &mut Checks<'_>, given: &Resources, field: &str) -> Option<ResourceRequirements> {
    let requests = amounts(checks, &given.requests, &format!("{field}.requests"));
    let limits = amounts(checks, &given.limits, &format!("{field}.limits"));
    let (requests, limits) = (requests?, limits?);
    for (name, request) in &requests {
        let over = |limit: &resource::Quantity| Quantity::parse(&request.0) > Quantity::parse(&limit.0);
        if let Some(limit) = limits.get(name).filter(|l| over(l)) {
            let message =
                format!("requests {} of {name}, which is more than its limit of {}", request.0, limit.0);
            checks.invalid(format!("{field}.requests"), message);
            return None;
        }
    }
    let some = |amounts: Amounts| (!amounts.is_empty()).then_some(amounts);
    Some(ResourceRequirements { requests: some(requests), limits: some(limits), ..Default::default() })
}

fn amounts(
    checks: &mut Checks<'_>,
    given: &BTreeMap<String, ResourceQuantity>,
    field: &str,
) -> Option<Amounts> {
    let mut amounts = Some(Amounts::new());
    for (name, text) in given {
        if !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            let message = format!(
                "\"{}\" is not a resource that a gateway uses; allowed: cpu, memory, ephemeral-storage",
                name.escape_debug()
            );
            checks.invalid(field, message);
            amounts = None;
            continue;
        }
        let Some(quantity) = Quantity::parse(&text.0) else {
            let message = format!(
                "\"{}\" is not a quantity: a number with m, k, M, G, T, Ki, Mi, Gi or Ti, for example 250m or 64Mi",
                text.0.escape_debug()
            );
            checks.invalid(format!("{field}.{name}"), message);
            amounts = None;
            continue;
        };
        if let Some(amounts) = &mut amounts {
            amounts.insert(name.clone(), resource::Quantity(quantity.canonical()));
        }
    }
    amounts
}
