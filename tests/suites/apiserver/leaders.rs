//! Leadership: one at a time, handed over, lost in time; and two at once do no harm.

use std::time::{Duration, Instant};

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::eventually,
    operator::{Operator, apply, config, ready, references, server},
    redis::Redis,
};
use gatehouse_operator::{crd::McpServer, run::RunError};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;

/// The lease's name.
const LEASE: &str = "gatehouse";

#[tokio::test(flavor = "multi_thread")]
async fn the_standby_leads_soon_after_the_leader_stops() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("lease").await;
    let redis = Redis::start().await;
    let start = async |name: &str| {
        Operator::with(api.config(), config(&[&namespace], &redis.url()), name, Some(&namespace)).await
    };
    let first = start("first").await;
    first.leads().await;
    let second = start("second").await;
    let leases: Api<Lease> = Api::namespaced(api.client(), &namespace);
    let holder = async || leases.get(LEASE).await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(holder().await.as_deref(), Some("first"));
    assert!(!second.metrics().is_leading());

    let stopped = Instant::now();
    first.stop().await.unwrap();
    second.leads().await;
    // The record of a leader that was last heard of two seconds ago would be honoured for thirteen more.
    assert!(stopped.elapsed() < Duration::from_secs(10), "handed over, not run out: {:?}", stopped.elapsed());
    assert_eq!(holder().await.as_deref(), Some("second"));

    // Killed, it leaves a lease that runs out.
    drop(second);
    let third = start("third").await;
    third.leads().await;
    assert_eq!(holder().await.as_deref(), Some("third"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_is_taken_ends() {
    let api = ApiServer::shared().await;
    let namespace = api.namespace("taken").await;
    let redis = Redis::start().await;
    let operator =
        Operator::with(api.config(), config(&[&namespace], &redis.url()), "mine", Some(&namespace)).await;
    operator.leads().await;
    let leases: Api<Lease> = Api::namespaced(api.client(), &namespace);
    let thief = json!({ "spec": { "holderIdentity": "thief", "leaseDurationSeconds": 60 } });
    leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(&thief)).await.unwrap();
    assert!(matches!(operator.ended().await, Err(RunError::LostLease)));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_forced_leaders_do_no_harm() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("two").await;
    references(&client, &namespace).await;
    let redis = Redis::start().await;
    let _kubelet = Kubelet::start(client.clone(), &namespace);
    let one = Operator::start(api.config(), &namespace, &redis.url()).await;
    let other = Operator::start(api.config(), &namespace, &redis.url()).await;
    one.leads().await;
    other.leads().await;
    let names: Vec<String> = (0..8).map(|n| format!("server-{n}")).collect();
    for name in &names {
        apply::<McpServer>(&client, &namespace, &server(name)).await;
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    for name in &names {
        let server = ready(&client, &namespace, name).await;
        let instance = server.status.unwrap().keys.unwrap().instance;
        let keys = secrets.get(&format!("{name}-gateway-keys")).await.unwrap();
        let ring = String::from_utf8(keys.data.unwrap()["keyring.json"].0.clone()).unwrap();
        assert!(ring.contains(&instance), "the status names the keys that are there");
    }
    one.quiet().await;
    other.quiet().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let ours = maps.list(&ListParams::default().labels("gatehouse.dev/server")).await.unwrap();
    let ours: Vec<String> = ours.iter().map(ResourceExt::name_any).collect();
    assert_eq!(ours.len(), names.len(), "one configuration each: {ours:?}");
    // Neither undoes the other: both are quiet although both lead.
    let before = one.metrics().writes() + other.metrics().writes();
    eventually("an edit", async || {
        let patch = json!({ "metadata": { "annotations": { "example.com/look": "again" } } });
        let servers: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
        servers.patch(&names[0], &PatchParams::default(), &Patch::Merge(&patch)).await.ok()
    })
    .await;
    one.quiet().await;
    other.quiet().await;
    assert_eq!(one.metrics().writes() + other.metrics().writes(), before);
}
