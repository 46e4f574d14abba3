//! From a valid server to the objects that it consists of. Pure, and cannot fail. One kind of object a file.

mod config_map;
mod deployment;
mod pod;
mod service;
mod volumes;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{names, validate::ValidatedServer};

/// The objects of a server. The Secrets with generated content are not here: `fetch` ensures them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    /// The identity of the pods, without rights.
    pub service_account: ServiceAccount,
    /// The gateway's configuration: immutable, its name carries the hash of its content.
    pub config_map: ConfigMap,
    /// The pods.
    pub deployment: Deployment,
    /// Where clients' traffic enters.
    pub service: Service,
    /// The headless twin of a Service backend.
    pub twin: Option<Service>,
    /// The hash that is in the ConfigMap's name, for the status.
    pub config_hash: String,
}

/// Builds the objects of a server.
pub fn build(server: &ValidatedServer) -> Desired {
    let (config_map, config_hash) = config_map::build(server);
    Desired {
        service_account: ServiceAccount {
            metadata: metadata(server, names::gateway(&server.name)),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        deployment: deployment::build(server, &config_hash),
        config_map,
        service: service::gateway(server),
        twin: service::twin(server),
        config_hash,
    }
}

/// What all children have in common.
fn metadata(server: &ValidatedServer, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(server.namespace.clone()),
        labels: Some(names::labels(&server.name)),
        owner_references: server.owner.clone().map(|owner| vec![owner]),
        ..ObjectMeta::default()
    }
}
