//! The operator under a service account with exactly the chart's rules: enough, and nothing that it does not use.

use std::{collections::BTreeSet, process::Command};

use e2e::{
    apiserver::{ApiServer, Kubelet, binaries},
    net::eventually,
    operator::{Operator, apply, config_from, reaches, ready, references, server},
    redis::Redis,
};
use gatehouse_operator::crd::{McpServer, OAuthClientPolicy};
use k8s_openapi::api::{
    core::v1::Service,
    rbac::v1::{ClusterRole, PolicyRule, Role},
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

/// The kinds of the chart that say what the operator may do.
const KINDS: [&str; 5] = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// What `helm template` makes of the chart for a release called as its namespace.
fn render(release: &str, arguments: &[String]) -> Vec<DynamicObject> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/gatehouse");
    let mut command = Command::new(binaries().join("helm"));
    command.args([
        "template",
        release,
        chart,
        "--namespace",
        release,
        "--set",
        "redis.url=redis://redis:6379",
    ]);
    let output = command.args(arguments).output().expect("tests/run builds helm");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let documents =
        text.split("\n---").filter(|document| document.lines().any(|line| line.starts_with("kind:")));
    let parse = |document: &str| -> DynamicObject {
        let value: Value = serde_saphyr::from_str(document.trim_start_matches("---")).unwrap();
        serde_json::from_value(value).unwrap()
    };
    documents.map(parse).collect()
}

/// Applies what says what the operator may do; gives the rules.
async fn install(
    client: &Client,
    release: &str,
    arguments: &[String],
) -> (String, BTreeSet<(String, String)>) {
    let mut allowed = BTreeSet::new();
    let mut account = String::new();
    for object in render(release, arguments) {
        let types = object.types.clone().unwrap();
        let aggregated = object.labels().keys().any(|label| label.contains("aggregate-to-"));
        if !KINDS.contains(&types.kind.as_str()) || aggregated {
            continue;
        }
        let value = serde_json::to_value(&object).unwrap();
        let rules = match types.kind.as_str() {
            "ServiceAccount" => {
                account = object.name_any();
                None
            }
            "ClusterRole" => serde_json::from_value::<ClusterRole>(value).unwrap().rules,
            "Role" => serde_json::from_value::<Role>(value).unwrap().rules,
            _ => None,
        };
        allowed.extend(rules.into_iter().flatten().flat_map(|rule| expand(&rule)));
        let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).unwrap());
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(client.clone(), &namespace, &resource),
            None if types.kind.starts_with("Cluster") => Api::all_with(client.clone(), &resource),
            None => Api::namespaced_with(client.clone(), release, &resource),
        };
        let params = PatchParams::apply("helm").force();
        api.patch(&object.name_any(), &params, &Patch::Apply(&object)).await.expect("it is accepted");
    }
    (account, allowed)
}

fn expand(rule: &PolicyRule) -> BTreeSet<(String, String)> {
    let groups = rule.api_groups.clone().unwrap_or_default();
    let resources = rule.resources.clone().unwrap_or_default();
    let mut all = BTreeSet::new();
    for (group, resource) in groups.iter().flat_map(|g| resources.iter().map(move |r| (g, r))) {
        let (name, sub) = resource.split_once('/').map_or((resource.as_str(), None), |(n, s)| (n, Some(s)));
        let dot = if group.is_empty() { "" } else { "." };
        let sub = sub.map(|s| format!("/{s}")).unwrap_or_default();
        all.extend(rule.verbs.iter().map(|verb| (verb.clone(), format!("{name}{dot}{group}{sub}"))));
    }
    all
}

/// What the operator did, from its own metrics; a refusal fails the test.
fn used(metrics: &str) -> BTreeSet<(String, String)> {
    let label = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let lines = metrics.lines().filter(|line| line.starts_with("rest_client_requests_total{"));
    lines
        .map(|line| {
            assert_ne!(label(line, "code"), "403", "refused: {line}");
            (label(line, "verb"), label(line, "resource"))
        })
        .collect()
}

/// Everything that an operator ever does: two kinds of backend, edits, a mistake made twice, a policy, an adoption.
async fn live_through(client: &Client, namespace: &str, labels: &Value) {
    references(client, namespace).await;
    let labelled = |name: &str| {
        let mut server = server(name);
        server["metadata"]["labels"] = labels.clone();
        server
    };
    let ca = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "ca" },
        "data": { "ca.crt": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n" } });
    apply::<k8s_openapi::api::core::v1::ConfigMap>(client, namespace, &ca).await;
    let policy = json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy",
        "metadata": { "name": "policy" }, "spec": { "targetRefs": [{ "selector": {} }] } });
    apply::<OAuthClientPolicy>(client, namespace, &policy).await;
    apply::<McpServer>(client, namespace, &labelled("one")).await;
    ready(client, namespace, "one").await;

    // A mistake, twice: the second event is added to the first.
    for _ in 0..2 {
        let mut broken = labelled("one");
        broken["spec"]["identity"]["local"]["usersSecretRef"]["name"] = json!("missing");
        apply::<McpServer>(client, namespace, &broken).await;
        reaches(client, namespace, "one", "ResolvedRefs", "False", "RefNotFound").await;
        apply::<McpServer>(client, namespace, &labelled("one")).await;
        ready(client, namespace, "one").await;
    }
    // The backend moves out of the cluster: its twin goes, as does the old configuration. The keys are kept from now on.
    let mut moved = labelled("one");
    moved["spec"]["keys"] = json!({ "deletionPolicy": "Retain" });
    moved["spec"]["backends"] = json!([{ "name": "tools", "url": "https://tools.example.com/mcp",
        "tls": { "caRef": { "name": "ca" } }, "inject": [{ "credential": "me" }] }]);
    apply::<McpServer>(client, namespace, &moved).await;
    ready(client, namespace, "one").await;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    eventually("the twin to be gone", async || {
        let ours = services.list(&ListParams::default().labels("gatehouse.dev/server")).await.ok()?;
        (ours.items.len() == 1).then_some(())
    })
    .await;
}

/// Rules that no call shows by itself: a patch that makes an object is checked for `create` as well.
fn implied(used: &BTreeSet<(String, String)>) -> BTreeSet<(String, String)> {
    let patched = used.iter().filter(|(verb, resource)| verb == "patch" && !resource.contains('/'));
    patched.map(|(_, resource)| ("create".to_owned(), resource.clone())).collect()
}

async fn proves(release: &str, namespace: &str, watch: Value, arguments: &[String]) {
    let api = ApiServer::shared().await;
    let client = api.client();
    let (account, allowed) = install(&client, release, arguments).await;
    let token = api.token(release, &account).await;
    let redis = Redis::start().await;
    let config = config_from(json!({
        "redis": { "url": redis.url(), "users": "Managed" },
        "hosts": { "allow": ["*.example.com"] },
        "watch": watch,
    }));
    let lease = Some(release);
    let operator =
        Operator::with_lease(api.config_with(&token), config.clone(), "one", lease, account.as_str()).await;
    let _kubelet = Kubelet::start(client.clone(), namespace);
    live_through(&client, namespace, &json!({ "e2e": release })).await;
    operator.quiet().await;
    let mut used = used(&operator.metrics().render());
    used.extend(implied(&used));
    let idle: Vec<_> = allowed.difference(&used).collect();
    assert!(idle.is_empty(), "the chart allows what the operator never does: {idle:?}");
    let missing: Vec<_> = used.difference(&allowed).collect();
    assert!(missing.is_empty(), "the operator does what the chart does not allow: {missing:?}");
    assert!(!allowed.iter().any(|(verb, resource)| verb == "*" || resource.contains('*')));
    operator.stop().await.unwrap();
    let servers: Api<McpServer> = Api::namespaced(client.clone(), namespace);
    let _ = servers.delete("one", &DeleteParams::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_rules_in_the_whole_cluster_are_enough_and_no_more() {
    let api = ApiServer::shared().await;
    let release = api.namespace("rbac-all").await;
    let namespace = api.namespace("tenant-all").await;
    // Other suites run their own operators here: this one looks at its own servers.
    let watch = json!({ "labelSelector": format!("e2e={release}") });
    proves(&release, &namespace, watch, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_charts_rules_in_one_namespace_are_roles_alone_and_enough() {
    let api = ApiServer::shared().await;
    let release = api.namespace("rbac-one").await;
    let namespace = api.namespace("tenant-one").await;
    let arguments: Vec<String> = [
        "--set".to_owned(),
        format!("watch.namespaces={{{namespace}}}"),
        "--set".to_owned(),
        "hosts.allow[0]=*.{namespace}.example.com".to_owned(),
    ]
    .into();
    let roles = render(&release, &arguments);
    let clusterwide = roles.iter().filter(|o| o.types.as_ref().unwrap().kind.starts_with("ClusterRole"));
    assert_eq!(clusterwide.count(), 0);
    proves(&release, &namespace, json!({ "namespaces": [namespace] }), &arguments).await;
}
