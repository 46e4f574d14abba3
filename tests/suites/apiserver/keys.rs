//! The sealing keys: made once, never overwritten, never adopted from elsewhere.

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::eventually,
    operator::{Operator, apply, condition, reaches, ready, references, server},
    redis::Redis,
};
use gatehouse_operator::crd::McpServer;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

struct World {
    client: Client,
    namespace: String,
    secrets: Api<Secret>,
    servers: Api<McpServer>,
    _redis: Redis,
    _operator: Operator,
    _kubelet: Kubelet,
}

impl World {
    async fn new(name: &str) -> Self {
        let api = ApiServer::shared().await;
        let client = api.client();
        let namespace = api.namespace(name).await;
        references(&client, &namespace).await;
        let redis = Redis::start().await;
        Self {
            secrets: Api::namespaced(client.clone(), &namespace),
            servers: Api::namespaced(client.clone(), &namespace),
            _operator: Operator::start(api.config(), &namespace, &redis.url()).await,
            _kubelet: Kubelet::start(client.clone(), &namespace),
            _redis: redis,
            client,
            namespace,
        }
    }

    async fn annotate(&self, key: &str, value: &str) {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        self.servers.patch("github", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }
}

fn instance(server: &McpServer) -> String {
    server.status.as_ref().unwrap().keys.as_ref().unwrap().instance.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_keys_stay_lost_until_a_person_accepts_it() {
    let world = World::new("lost").await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    let first = instance(&ready(&world.client, &world.namespace, "github").await);
    world.secrets.delete("github-gateway-keys", &DeleteParams::default()).await.unwrap();

    world.annotate("example.com/look", "1").await;
    let found = reaches(&world.client, &world.namespace, "github", "ResolvedRefs", "False", "KeysLost").await;
    assert!(condition(&found, "ResolvedRefs").unwrap().message.contains(&first), "{found:?}");
    assert_eq!(condition(&found, "Available").unwrap().status, "True", "the pods are left as they are");
    assert!(world.secrets.get_opt("github-gateway-keys").await.unwrap().is_none(), "no new keys were made");

    // Another value accepts nothing.
    world.annotate("gatehouse.dev/accept-key-loss", "true").await;
    reaches(&world.client, &world.namespace, "github", "ResolvedRefs", "False", "KeysLost").await;
    assert!(world.secrets.get_opt("github-gateway-keys").await.unwrap().is_none());

    world.annotate("gatehouse.dev/accept-key-loss", &first).await;
    let second = instance(&ready(&world.client, &world.namespace, "github").await);
    assert_ne!(first, second);
    assert!(world.secrets.get_opt("github-gateway-keys").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_ours_is_never_adopted() {
    let world = World::new("adopt").await;
    let theirs = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "github-gateway-keys" },
        "stringData": { "keyring.json": "{}" } });
    let before: Secret = apply(&world.client, &world.namespace, &theirs).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("github")).await;
    let found =
        reaches(&world.client, &world.namespace, "github", "ResolvedRefs", "False", "KeysInvalid").await;
    let message = &condition(&found, "ResolvedRefs").unwrap().message;
    assert!(message.contains("was not made for this server"), "{message}");
    let after = world.secrets.get("github-gateway-keys").await.unwrap();
    assert_eq!(before.resource_version(), after.resource_version(), "it was not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn retained_keys_outlive_their_server_and_are_found_again() {
    let world = World::new("retain").await;
    let mut retained = server("github");
    retained["spec"]["keys"] = json!({ "deletionPolicy": "Retain" });
    apply::<McpServer>(&world.client, &world.namespace, &retained).await;
    let first = instance(&ready(&world.client, &world.namespace, "github").await);
    let secret = world.secrets.get("github-gateway-keys").await.unwrap();
    assert!(secret.owner_references().is_empty(), "nothing collects it");
    assert_eq!(secret.annotations()["gatehouse.dev/server"], format!("{}/github", world.namespace));
    assert_eq!(secret.annotations()["gatehouse.dev/issuer"], "https://github.example.com");

    // Collected and restored, as from a backup: nothing of the new object's identity is in it.
    let mut backup = secret.clone();
    backup.metadata.uid = None;
    backup.metadata.resource_version = None;
    backup.metadata.managed_fields = None;
    world.secrets.delete("github-gateway-keys", &DeleteParams::default()).await.unwrap();
    world.secrets.create(&PostParams::default(), &backup).await.unwrap();
    world.annotate("example.com/look", "1").await;
    assert_eq!(instance(&ready(&world.client, &world.namespace, "github").await), first);

    // To delete it with the server, the server owns it again.
    retained["spec"]["keys"] = json!({ "deletionPolicy": "Delete" });
    apply::<McpServer>(&world.client, &world.namespace, &retained).await;
    eventually("the Secret to have an owner", async || {
        let secret = world.secrets.get("github-gateway-keys").await.ok()?;
        (secret.owner_references().len() == 1 && secret.data == backup.data).then_some(())
    })
    .await;
}
