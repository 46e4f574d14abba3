//! The Services: where clients enter, and the headless twin by which sessions find their pod.

use gatehouse_gateway_config::HTTP_PORT;
use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::metadata;
use crate::server::{names, validate::ValidatedServer};

/// Where clients' traffic enters: an Ingress or HTTPRoute leads here.
pub(super) fn gateway(server: &ValidatedServer) -> Service {
    let port = ServicePort {
        name: Some("http".to_owned()),
        port: names::SERVICE_PORT,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(HTTP_PORT.into())),
        ..ServicePort::default()
    };
    Service {
        metadata: metadata(server, names::gateway(&server.name)),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(names::selector(&server.name)),
            ports: Some(vec![port]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The headless twin of the backend's Service.
pub(super) fn twin(server: &ValidatedServer) -> Option<Service> {
    let twin = server.twin.as_ref()?;
    Some(Service {
        metadata: metadata(server, twin.name.clone()),
        spec: Some(twin.spec.clone()),
        ..Service::default()
    })
}
