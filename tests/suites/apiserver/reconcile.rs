//! Server-side apply, drift, deletion, status, conditions and events.

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::eventually,
    operator::{Operator, apply, condition, reaches, ready, references, server},
    redis::Redis,
};
use gatehouse_operator::crd::{McpServer, OAuthClientPolicy, condition::ConditionType};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Secret, Service, ServiceAccount},
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

/// A namespace with the references of a server, its stand-in for nodes, a Redis and an operator.
struct World {
    api: &'static ApiServer,
    client: Client,
    namespace: String,
    redis: Redis,
    operator: Operator,
    _kubelet: Kubelet,
}

impl World {
    async fn new(name: &str) -> Self {
        let api = ApiServer::shared().await;
        let client = api.client();
        let namespace = api.namespace(name).await;
        references(&client, &namespace).await;
        let redis = Redis::start().await;
        let operator = Operator::start(api.config(), &namespace, &redis.url()).await;
        let kubelet = Kubelet::start(client.clone(), &namespace);
        Self { api, client, namespace, redis, operator, _kubelet: kubelet }
    }

    fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn maps(&self) -> Vec<String> {
        let ours = ListParams::default().labels("gatehouse.dev/server");
        self.all::<ConfigMap>().list(&ours).await.unwrap().iter().map(ResourceExt::name_any).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_becomes_ready_and_owns_its_children() {
    let world = World::new("ready").await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    let server = ready(&world.client, &world.namespace, "github").await;

    let status = server.status.clone().unwrap();
    assert_eq!(status.observed_generation, server.metadata.generation);
    assert_eq!(status.issuer.as_deref(), Some("https://github.example.com"));
    assert_eq!(status.resource.as_deref(), Some("https://github.example.com/mcp"));
    assert_eq!(status.service.as_ref().unwrap().name, "github-gateway");
    assert_eq!(status.keys.as_ref().unwrap().secret, "github-gateway-keys");
    assert_eq!((status.replicas, status.ready_replicas), (Some(2), Some(2)));
    for condition in &status.conditions {
        assert_eq!(condition.observed_generation, server.metadata.generation, "{condition:?}");
    }
    let uid = server.uid().unwrap();
    let owned = |meta: &kube::api::ObjectMeta| {
        let owner = meta.owner_references.as_ref().and_then(|o| o.first().cloned()).expect("it has an owner");
        assert_eq!((owner.uid, owner.controller), (uid.clone(), Some(true)), "{:?}", meta.name);
        assert!(meta.finalizers.is_none(), "no finalizer anywhere");
    };
    owned(&world.all::<Deployment>().get("github-gateway").await.unwrap().metadata);
    owned(&world.all::<Service>().get("github-gateway").await.unwrap().metadata);
    owned(&world.all::<ServiceAccount>().get("github-gateway").await.unwrap().metadata);
    owned(&world.all::<Secret>().get("github-gateway-keys").await.unwrap().metadata);
    let maps = world.maps().await;
    assert_eq!(maps.len(), 1, "{maps:?}");
    let map = world.all::<ConfigMap>().get(&maps[0]).await.unwrap();
    owned(&map.metadata);
    assert_eq!(map.immutable, Some(true));
    assert!(server.metadata.finalizers.is_none());
    assert_eq!(world.api.client().default_namespace(), "default");
}

/// kstatus takes an object without conditions for current.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_looked_at_is_pending() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("pending").await;
    let server: McpServer = apply(&client, &namespace, &server("one")).await;
    let policy = json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy",
        "metadata": { "name": "p" }, "spec": { "targetRefs": [{ "selector": {} }] } });
    let policy: OAuthClientPolicy = apply(&client, &namespace, &policy).await;
    let pending = |conditions: &[Condition]| -> Vec<String> {
        assert!(conditions.iter().all(|c| c.status == "Unknown" && c.reason == "Pending"), "{conditions:?}");
        conditions.iter().map(|c| c.type_.clone()).collect()
    };
    let status = server.status.unwrap();
    assert_eq!(pending(&status.conditions), ["Accepted", "Programmed", "Ready"]);
    assert_eq!(status.observed_generation, None);
    assert_eq!(pending(&policy.status.unwrap().conditions), ["Accepted", "Programmed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_pass_and_a_restart_write_nothing() {
    let world = World::new("idle").await;
    for name in ["one", "two", "three"] {
        apply::<McpServer>(&world.client, &world.namespace, &server(name)).await;
    }
    for name in ["one", "two", "three"] {
        ready(&world.client, &world.namespace, name).await;
    }
    world.operator.quiet().await;
    let before = world.operator.metrics().writes();
    // An annotation makes a pass over an object whose spec is the same.
    for name in ["one", "two", "three"] {
        let patch = json!({ "metadata": { "annotations": { "example.com/look": "again" } } });
        world.all::<McpServer>().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
    world.operator.quiet().await;
    assert_eq!(world.operator.metrics().writes(), before, "{}", world.operator.metrics().render());

    let World { api, namespace, redis, operator, client, .. } = world;
    operator.stop().await.unwrap();
    let again = Operator::start(api.config(), &namespace, &redis.url()).await;
    again.leads().await;
    eventually("three passes", async || {
        let text = again.metrics().render();
        let passes = text
            .lines()
            .filter(|l| l.starts_with("controller_runtime_reconcile_total{controller=\"mcpserver\""));
        let passes: u64 = passes.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        (passes >= 3).then_some(())
    })
    .await;
    again.quiet().await;
    assert_eq!(again.metrics().writes(), 0, "a restart writes nothing:\n{}", again.metrics().render());
    ready(&client, &namespace, "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_or_delete_is_repaired() {
    let world = World::new("drift").await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    ready(&world.client, &world.namespace, "github").await;
    let deployments = world.all::<Deployment>();
    let services = world.all::<Service>();

    let patch =
        json!({ "spec": { "replicas": 7, "template": { "metadata": { "labels": { "theirs": "stays" } } } } });
    deployments.patch("github-gateway", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    eventually("the replicas to be repaired", async || {
        let spec = deployments.get("github-gateway").await.ok()?.spec;
        (spec.replicas == Some(2)).then_some(())
    })
    .await;
    let template = deployments.get("github-gateway").await.unwrap().spec.template;
    let labels = template.metadata.unwrap().labels.unwrap();
    assert_eq!(labels["theirs"], "stays", "what is not ours is left");

    let uid = services.get("github-gateway").await.unwrap().uid();
    services.delete("github-gateway", &DeleteParams::default()).await.unwrap();
    eventually("the Service to be made again", async || {
        services.get_opt("github-gateway").await.ok()?.filter(|s| s.uid() != uid)
    })
    .await;

    let patch = json!({ "metadata": { "labels": { "gatehouse.dev/server": null } } });
    let accounts = world.all::<ServiceAccount>();
    accounts.patch("github-gateway", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    eventually("the label to be put back", async || {
        accounts.get("github-gateway").await.ok()?.labels().get("gatehouse.dev/server").cloned()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_rolls_once_and_old_configurations_go() {
    let world = World::new("edit").await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    ready(&world.client, &world.namespace, "github").await;
    let before = world.maps().await;
    let mut edited = server("github");
    edited["spec"]["display"] = json!({ "name": "Tools" });
    apply::<McpServer>(&world.client, &world.namespace, &edited).await;
    let after = eventually("the new configuration alone", async || {
        let maps = world.maps().await;
        (maps.len() == 1 && maps != before).then_some(maps)
    })
    .await;
    ready(&world.client, &world.namespace, "github").await;
    let deployment = world.all::<Deployment>().get("github-gateway").await.unwrap();
    let text = serde_json::to_string(&deployment.spec).unwrap();
    assert!(text.contains(&after[0]), "the pods name {after:?}");

    // Resources go away with the field that asked for them.
    edited["spec"]["gateway"] = json!({ "replicas": 0 });
    apply::<McpServer>(&world.client, &world.namespace, &edited).await;
    let parked = reaches(&world.client, &world.namespace, "github", "Ready", "True", "Parked").await;
    assert_eq!(condition(&parked, "Available").unwrap().reason, "Parked");
}

/// Sign-ins and new sessions go to the pods of the twin alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_moves_vanishes_or_appears_is_followed_at_once() {
    let world = World::new("backend").await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    ready(&world.client, &world.namespace, "github").await;
    world.operator.quiet().await;
    let services = world.all::<Service>();
    let green =
        json!({ "spec": { "selector": { "app": "green" }, "ports": [{ "port": 80, "targetPort": 9090 }] } });
    services.patch("tools", &PatchParams::default(), &Patch::Merge(&green)).await.unwrap();
    eventually("the twin to select the same pods", async || {
        let spec = services.get("github-gateway-tools").await.ok()?.spec?;
        let port = serde_json::to_value(spec.ports?.first()?).ok()?;
        (spec.selector?["app"] == "green" && port["targetPort"] == 9090).then_some(())
    })
    .await;

    services.delete("tools", &DeleteParams::default()).await.unwrap();
    reaches(&world.client, &world.namespace, "github", "ResolvedRefs", "False", "ServiceNotFound").await;
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "tools" },
        "spec": { "selector": { "app": "blue" }, "ports": [{ "port": 80 }] } });
    apply::<Service>(&world.client, &world.namespace, &service).await;
    ready(&world.client, &world.namespace, "github").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_of_the_same_name_is_left_alone() {
    let world = World::new("foreign").await;
    let foreign = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "github-gateway" },
        "spec": { "selector": { "app": "theirs" }, "ports": [{ "port": 1234 }] } });
    let theirs: Service = apply(&world.client, &world.namespace, &foreign).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    let found = reaches(&world.client, &world.namespace, "github", "Accepted", "False", "Conflict").await;
    let message = &condition(&found, "Accepted").unwrap().message;
    assert!(message.contains("Service github-gateway exists and has no owner"), "{message}");
    assert_eq!(condition(&found, "Stalled").unwrap().status, "True");
    let now = world.all::<Service>().get("github-gateway").await.unwrap();
    assert_eq!(now.resource_version(), theirs.resource_version(), "it was not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_as_events_and_nothing_is_told_twice() {
    let world = World::new("events").await;
    let mut broken = server("github");
    broken["spec"]["identity"]["local"]["usersSecretRef"]["name"] = json!("missing");
    apply::<McpServer>(&world.client, &world.namespace, &broken).await;
    reaches(&world.client, &world.namespace, "github", "ResolvedRefs", "False", "RefNotFound").await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    ready(&world.client, &world.namespace, "github").await;
    world.operator.quiet().await;
    let events = world.all::<Event>().list(&ListParams::default()).await.unwrap();
    let mut told: Vec<(String, String)> = events
        .iter()
        .filter(|e| e.regarding.as_ref().and_then(|r| r.kind.as_deref()) == Some("McpServer"))
        .map(|e| (e.type_.clone().unwrap_or_default(), e.reason.clone().unwrap_or_default()))
        .collect();
    told.sort();
    let told: Vec<(&str, &str)> = told.iter().map(|(t, r)| (t.as_str(), r.as_str())).collect();
    assert_eq!(
        told,
        [("Normal", "KeysCreated"), ("Normal", "Ready"), ("Normal", "Resolved"), ("Warning", "RefNotFound")]
    );
    assert!(events.iter().all(|e| e.series.is_none()), "nothing was told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_server_is_forgotten_and_one_of_the_same_name_is_another() {
    let world = World::new("delete").await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    let first = ready(&world.client, &world.namespace, "github").await;
    let servers = world.all::<McpServer>();
    servers.delete("github", &DeleteParams::default()).await.unwrap();
    eventually("the server to be gone", async || {
        servers.get_opt("github").await.ok()?.is_none().then_some(())
    })
    .await;
    world.operator.quiet().await;

    // Nothing collects garbage here, as on a cluster that is slow: the children of the first are not the second's.
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    let found = reaches(&world.client, &world.namespace, "github", "Ready", "False", "KeysInvalid").await;
    assert_ne!(found.uid(), first.uid());
    let message = &condition(&found, ConditionType::ResolvedRefs.as_str()).unwrap().message;
    assert!(message.contains("github-gateway-keys"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_waits_for_the_lists_and_metrics_are_served() {
    let world = World::new("health").await;
    world.operator.leads().await;
    let get = async |path: &str| {
        let response =
            e2e::net::http().get(format!("{}{path}", world.operator.admin())).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/livez").await, (200, "ok".to_owned()));
    assert_eq!(get("/readyz").await, (200, "ok".to_owned()));
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("leader_election_master_status{name=\"gatehouse\"} 1"), "{metrics}");
    assert!(
        metrics.contains("rest_client_requests_total{verb=\"list\",resource=\"mcpservers.gatehouse.dev\""),
        "{metrics}"
    );
}
