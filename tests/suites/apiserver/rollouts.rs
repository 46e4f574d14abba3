//! Roll-outs that the operator itself causes: they take turns, edits do not, and what is broken holds nobody up.

use std::collections::BTreeSet;

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::eventually,
    operator::{Operator, apply, condition, config, reaches, ready, references, server},
    redis::Redis,
};
use gatehouse_operator::{
    config::OperatorConfig,
    crd::{McpServer, OAuthClientPolicy},
};
use k8s_openapi::api::{apps::v1::Deployment, events::v1::Event};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// What the Deployment controller says of pods that do not get ready.
fn fails() -> Value {
    json!({ "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
        "message": "it has timed out progressing" }] })
}

/// What it says of pods that got ready.
fn works() -> Value {
    json!({ "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2, "conditions": [] })
}

/// Says something of the newest template of a server's Deployment.
async fn says(deployments: &Api<Deployment>, server: &str, mut status: Value) {
    let name = format!("{server}-gateway");
    status["observedGeneration"] = json!(deployments.get(&name).await.unwrap().metadata.generation);
    let patch = Patch::Merge(json!({ "status": status }));
    deployments.patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_roll_outs_take_turns_and_edits_do_not() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("rollouts").await;
    references(&client, &namespace).await;
    let redis = Redis::start().await;
    let mut settings = config(&[&namespace], &redis.url());
    settings.rollouts.max_concurrent = 1;
    settings.gateway.image = "gateway:1".to_owned();
    let operator = Operator::with(api.config(), settings.clone(), "e2e", None).await;
    let kubelet = Kubelet::start(client.clone(), &namespace);
    for name in NAMES {
        apply::<McpServer>(&client, &namespace, &server(name)).await;
        ready(&client, &namespace, name).await;
    }
    operator.quiet().await;
    operator.stop().await.unwrap();

    // From here on no pod gets ready by itself.
    drop(kubelet);
    settings.gateway.image = "gateway:2".to_owned();
    let _operator = Operator::with(api.config(), settings, "e2e", None).await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let image = async |name: &str| {
        let deployment = deployments.get(&format!("{name}-gateway")).await.unwrap();
        deployment.spec.template.spec.unwrap().containers[0].image.clone().unwrap()
    };
    let rolled = async || {
        let mut rolled = Vec::new();
        for name in NAMES {
            if image(name).await == "gateway:2" {
                rolled.push(name);
            }
        }
        rolled
    };
    let first = eventually("one of them to begin", async || rolled().await.first().copied()).await;
    let [second, third] = match first {
        "one" => ["two", "three"],
        "two" => ["one", "three"],
        _ => ["one", "two"],
    };
    for waits in [second, third] {
        let queued = reaches(&client, &namespace, waits, "Programmed", "False", "RolloutQueued").await;
        let message = &condition(&queued, "Programmed").unwrap().message;
        assert!(message.contains(&format!("McpServer {namespace}/{first} ")), "{message}");
        assert_eq!(condition(&queued, "Available").unwrap().status, "True");
    }
    assert_eq!(rolled().await, [first]);

    // A policy's edit does not wait, whatever else comes along with it.
    let policy = json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy",
        "metadata": { "name": "strict" },
        "spec": { "targetRefs": [{ "name": second }], "redirectUris": { "loopback": "Refused" } } });
    apply::<OAuthClientPolicy>(&client, &namespace, &policy).await;
    eventually("the edit to be rolled out", async || (image(second).await == "gateway:2").then_some(()))
        .await;
    reaches(&client, &namespace, third, "Programmed", "False", "RolloutQueued").await;

    // The first one does not get on, so its place is the next one's.
    says(&deployments, first, fails()).await;
    reaches(&client, &namespace, first, "Programmed", "False", "RolloutFailed").await;
    eventually("the next one to roll", async || (image(third).await == "gateway:2").then_some(())).await;
}

/// Servers of these names, ready with the image `gateway:1`, and no operator.
async fn run_on_the_first_image(
    api: &ApiServer,
    settings: &mut OperatorConfig,
    namespace: &str,
    names: &BTreeSet<String>,
) {
    "gateway:1".clone_into(&mut settings.gateway.image);
    let operator = Operator::with(api.config(), settings.clone(), "e2e", None).await;
    let _kubelet = Kubelet::start(api.client(), namespace);
    for name in names {
        apply::<McpServer>(&api.client(), namespace, &server(name)).await;
    }
    for name in names {
        ready(&api.client(), namespace, name).await;
    }
    operator.quiet().await;
    operator.stop().await.unwrap();
}

/// The servers whose Deployment has this image.
async fn with_image(deployments: &Api<Deployment>, image: &str) -> BTreeSet<String> {
    let all = deployments.list(&ListParams::default()).await.unwrap();
    let has = |d: &&Deployment| {
        let pod = d.spec.template.spec.as_ref();
        pod.is_some_and(|pod| pod.containers[0].image.as_deref() == Some(image))
    };
    let name = |d: &Deployment| d.metadata.name.clone().unwrap_or_default();
    all.iter().filter(has).map(|d| name(d).trim_end_matches("-gateway").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_one_after_the_other_is_rolled_out_no_further_until_it_works() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("stopped").await;
    references(&client, &namespace).await;
    let redis = Redis::start().await;
    let mut settings = config(&[&namespace], &redis.url());
    settings.rollouts.max_concurrent = 1;
    let names: BTreeSet<String> = (1..=6).map(|n| format!("s{n}")).collect();
    run_on_the_first_image(api, &mut settings, &namespace, &names).await;

    settings.gateway.image = "gateway:2".to_owned();
    let operator = Operator::with(api.config(), settings.clone(), "e2e", None).await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let rolled = async || with_image(&deployments, "gateway:2").await;
    let next = async |before: &BTreeSet<String>| {
        eventually("the next one to roll", async || rolled().await.difference(before).next().cloned()).await
    };
    let mut failed = BTreeSet::new();
    for _ in 0..3 {
        let rolls = next(&failed).await;
        says(&deployments, &rolls, fails()).await;
        let told = reaches(&client, &namespace, &rolls, "Programmed", "False", "RolloutFailed").await;
        let message = &condition(&told, "Programmed").unwrap().message;
        assert!(message.contains("what the operator changed"), "{message}");
        failed.insert(rolls);
    }
    let servers: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
    let stopped = async |name: &str| {
        eventually(&format!("{name} to say that roll-outs are stopped"), async || {
            let server = servers.get(name).await.ok()?;
            let programmed = condition(&server, "Programmed")?;
            let named = failed.iter().all(|name| programmed.message.contains(&format!("{namespace}/{name}")));
            let is_stopped =
                programmed.reason == "RolloutQueued" && programmed.message.contains("does not begin");
            (is_stopped && named).then_some(())
        })
        .await;
    };
    let waiting: Vec<&String> = names.difference(&failed).collect();
    for name in &waiting {
        stopped(name).await;
    }
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    eventually("an event to tell it", async || {
        let all = events.list(&ListParams::default()).await.ok()?;
        let told: Vec<&Event> =
            all.iter().filter(|e| e.reason.as_deref() == Some("RolloutsStopped")).collect();
        (told.len() == 1).then_some(())
    })
    .await;
    assert!(operator.metrics().render().contains("gatehouse_rollouts_stopped 1"));

    // Another process knows it from the start.
    operator.stop().await.unwrap();
    let operator = Operator::with(api.config(), settings, "e2e", None).await;
    operator.leads().await;
    operator.quiet().await;
    assert_eq!(rolled().await, failed);
    for name in &waiting {
        stopped(name).await;
    }
    // An edit does not wait, and what becomes of it is not the operator's doing.
    let edited = waiting[0];
    let mut edit = server(edited);
    edit["spec"]["display"] = json!({ "name": "edited" });
    apply::<McpServer>(&client, &namespace, &edit).await;
    assert_eq!(next(&failed).await, *edited);
    says(&deployments, edited, works()).await;
    ready(&client, &namespace, edited).await;
    stopped(waiting[1]).await;

    // One of them gets well after all.
    let well = failed.first().unwrap();
    says(&deployments, well, works()).await;
    ready(&client, &namespace, well).await;
    let mut done = failed.clone();
    done.insert(edited.clone());
    for _ in 0..2 {
        let rolls = next(&done).await;
        says(&deployments, &rolls, works()).await;
        ready(&client, &namespace, &rolls).await;
        done.insert(rolls);
    }
    assert!(operator.metrics().render().contains("gatehouse_rollouts_stopped 0"));
}
