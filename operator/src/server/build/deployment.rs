//! The Deployment. A change of the configuration changes the ConfigMap's name and so rolls the pods.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{PodSpec, PodTemplateSpec},
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{metadata, pod, volumes};
use crate::server::{names, validate::ValidatedServer};

/// How long a roll-out may stand still before the Deployment says so, in seconds.
const PROGRESS_DEADLINE: i32 = 300;

pub(super) fn build(server: &ValidatedServer, config_hash: &str) -> Deployment {
    Deployment {
        metadata: ObjectMeta {
            annotations: Some(causes(server)),
            ..metadata(server, names::gateway(&server.name))
        },
        spec: DeploymentSpec {
            replicas: Some(server.pods.replicas),
            // The immutable ConfigMaps of older revisions are deleted, so there is nothing to roll back to.
            revision_history_limit: Some(0),
            progress_deadline_seconds: Some(PROGRESS_DEADLINE),
            selector: LabelSelector {
                match_labels: Some(names::selector(&server.name)),
                ..LabelSelector::default()
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    // Never fewer pods than asked for, also while they are replaced.
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::Int(1)),
                }),
            }),
            template: template(server, config_hash),
            ..DeploymentSpec::default()
        },
        ..Deployment::default()
    }
}

/// What this Deployment was made of, so that the next roll-out is known for an edit or for the operator's own.
fn causes(server: &ValidatedServer) -> BTreeMap<String, String> {
    let edit = server.generation.map(|generation| {
        let policy = server.policy.edit().map(|edit| format!(" {edit}")).unwrap_or_default();
        (names::EDIT_ANNOTATION.to_owned(), format!("{generation}{policy}"))
    });
    [(names::DEFAULTS_ANNOTATION.to_owned(), server.defaults_hash.clone())].into_iter().chain(edit).collect()
}

fn template(server: &ValidatedServer, config_hash: &str) -> PodTemplateSpec {
    let tenant = &server.pods.template;
    let (volumes, mounts) = volumes::build(server, config_hash).into_iter().unzip();
    let mut labels = tenant.labels.clone();
    // Ours last: a label of the selector must not be overwritten.
    labels.extend(names::labels(&server.name));
    let annotations = tenant.annotations.clone();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::gateway(&server.name)),
            automount_service_account_token: Some(false),
            // Services of the namespace as environment variables would tell the gateway what it must not know.
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(server.pods.termination_grace_seconds),
            security_context: Some(pod::security()),
            containers: vec![pod::container(server, mounts)],
            volumes: Some(volumes),
            node_selector: (!tenant.node_selector.is_empty()).then(|| tenant.node_selector.clone()),
            tolerations: (!tenant.tolerations.is_empty()).then(|| tenant.tolerations.clone()),
            affinity: tenant.affinity.clone(),
            topology_spread_constraints: Some(
                tenant.topology_spread_constraints.clone().unwrap_or_else(|| pod::default_spread(server)),
            ),
            priority_class_name: tenant.priority_class_name.clone(),
            image_pull_secrets: (!tenant.image_pull_secrets.is_empty())
                .then(|| tenant.image_pull_secrets.clone()),
            ..PodSpec::default()
        }),
    }
}
