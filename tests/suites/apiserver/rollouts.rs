//! Roll-outs that the operator itself causes: they take turns, edits do not, and what is broken holds nobody up.

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::eventually,
    operator::{Operator, apply, condition, config, reaches, ready, references, server},
    redis::Redis,
};
use gatehouse_operator::crd::{McpServer, OAuthClientPolicy};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

const NAMES: [&str; 3] = ["one", "two", "three"];

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
    let deployment = deployments.get(&format!("{first}-gateway")).await.unwrap();
    let status = json!({ "status": { "observedGeneration": deployment.metadata.generation,
        "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
            "message": "it has timed out progressing" }] } });
    let name = format!("{first}-gateway");
    deployments.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    reaches(&client, &namespace, first, "Programmed", "False", "RolloutFailed").await;
    eventually("the next one to roll", async || (image(third).await == "gateway:2").then_some(())).await;
}
