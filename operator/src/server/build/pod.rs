//! The container: restricted pod security, probes on the admin port.

use gatehouse_gateway_config::{ADMIN_PORT, HTTP_PORT};
use k8s_openapi::{
    api::core::v1::{
        Capabilities, Container, ContainerPort, HTTPGetAction, PodSecurityContext, Probe, SeccompProfile,
        SecurityContext, TopologySpreadConstraint, VolumeMount,
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use crate::server::{names, validate::ValidatedServer};

/// The user of the image: nobody by convention of distroless images.
const USER: i64 = 65532;

/// The one container.
pub(super) fn container(server: &ValidatedServer, mounts: Vec<VolumeMount>) -> Container {
    Container {
        name: "gateway".to_owned(),
        image: Some(server.pods.image.clone()),
        image_pull_policy: server.pods.image_pull_policy.clone(),
        ports: Some(vec![port("http", HTTP_PORT), port("admin", ADMIN_PORT)]),
        // A pod may take its time to reach Redis for the first time; only after that does silence mean death.
        startup_probe: Some(Probe {
            failure_threshold: Some(30),
            period_seconds: Some(1),
            ..probe("/livez")
        }),
        liveness_probe: Some(Probe {
            failure_threshold: Some(3),
            period_seconds: Some(10),
            ..probe("/livez")
        }),
        readiness_probe: Some(Probe {
            failure_threshold: Some(2),
            period_seconds: Some(5),
            ..probe("/readyz")
        }),
        resources: Some(server.pods.resources.clone()),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities {
                drop: Some(vec!["ALL".to_owned()]),
                ..Capabilities::default()
            }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// The security context of a `restricted` namespace.
pub(super) fn security() -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Pods spread over zones and hosts where that is possible, so that one failure leaves some of them.
pub(super) fn default_spread(server: &ValidatedServer) -> Vec<TopologySpreadConstraint> {
    ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        .into_iter()
        .map(|key| TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(names::selector(&server.name)),
                ..LabelSelector::default()
            }),
            ..TopologySpreadConstraint::default()
        })
        .collect()
}

fn port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}
