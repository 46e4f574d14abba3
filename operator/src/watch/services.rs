//! The Services that servers name as their backends: a twin copies what they select, and no pass would see it change.

use kube::{ResourceExt, api::DynamicObject, runtime::watcher::Event};

use super::listing::fingerprint;
use crate::server::{
    backends::{Backends, Sighting},
    fetch::ServerName,
};

/// Tells of an event of any Service in a scope. Returns the servers to look at.
pub(super) fn seen(backends: &Backends, scope: &str, event: &Event<DynamicObject>) -> Vec<ServerName> {
    let namespace = |service: &DynamicObject| service.namespace().unwrap_or_default();
    match event {
        Event::Init => {
            backends.list_begins(scope);
            Vec::new()
        }
        Event::InitApply(service) => {
            backends.listed(scope, &namespace(service), &service.name_any(), sighting(service))
        }
        Event::InitDone => backends.list_ends(scope),
        Event::Apply(service) => backends.saw(&namespace(service), &service.name_any(), sighting(service)),
        Event::Delete(service) => backends.gone(&namespace(service), &service.name_any()),
    }
}

/// What is kept of a Service: what of it a pass looks at, and its version.
fn sighting(service: &DynamicObject) -> Sighting {
    let spec = service.data.get("spec");
    let digest = fingerprint(
        &["type", "selector", "ports", "clusterIP", "clusterIPs"]
            .map(|field| spec.and_then(|spec| spec.get(field))),
    );
    Sighting { digest, version: fingerprint(&service.resource_version()) }
}
