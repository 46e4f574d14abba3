//! Bad input: each gets its words in a condition and an event, and never stops another server.

use e2e::{
    apiserver::{ApiServer, Kubelet},
    net::{eventually, free_port},
    operator::{Operator, apply, condition, config, reaches, ready, references, server},
    redis::Redis,
};
use gatehouse_operator::crd::{McpServer, OAuthClientPolicy};
use k8s_openapi::{
    api::{
        admissionregistration::v1::ValidatingWebhookConfiguration,
        apps::v1::Deployment,
        core::v1::{Secret, Service},
        events::v1::Event,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

struct World {
    client: Client,
    namespace: String,
    operator: Operator,
    _kubelet: Kubelet,
}

async fn world(name: &str, redis: &str) -> World {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace(name).await;
    references(&client, &namespace).await;
    let operator = Operator::start(api.config(), &namespace, redis).await;
    let kubelet = Kubelet::start(client.clone(), &namespace);
    World { client, namespace, operator, _kubelet: kubelet }
}

impl World {
    async fn has_event(&self, reason: &str) {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        eventually(&format!("an event {reason}"), async || {
            let events = events.list(&ListParams::default()).await.ok()?;
            let told =
                |e: &Event| e.reason.as_deref() == Some(reason) && e.type_.as_deref() == Some("Warning");
            events.iter().any(told).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_without_the_named_key() {
    let redis = Redis::start().await;
    let world = world("nokey", &redis.url()).await;
    let mut broken = server("broken");
    broken["spec"]["identity"]["local"]["usersSecretRef"]["key"] = json!("typo.yaml");
    apply::<McpServer>(&world.client, &world.namespace, &broken).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("good")).await;
    let found =
        reaches(&world.client, &world.namespace, "broken", "ResolvedRefs", "False", "KeyNotFound").await;
    let message = &condition(&found, "ResolvedRefs").unwrap().message;
    assert!(message.contains("typo.yaml") && message.contains("users"), "{message}");
    world.has_event("KeyNotFound").await;
    ready(&world.client, &world.namespace, "good").await;

    // Put right, it is found without anyone telling: Secrets are not watched.
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "users" } });
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let users = secrets.get("users").await.unwrap().data.unwrap()["users.yaml"].clone();
    let patch =
        json!({ "data": { "typo.yaml": users }, "apiVersion": secret["apiVersion"], "kind": "Secret" });
    secrets.patch("users", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    ready(&world.client, &world.namespace, "broken").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusable_users_file_is_told_without_its_content() {
    let redis = Redis::start().await;
    let world = world("users", &redis.url()).await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "bad" },
        "stringData": { "users.yaml": "- { name: alice, uid: 5d0cf1c4b7d84a0e, passwordHash: hunter2 }" } });
    apply::<Secret>(&world.client, &world.namespace, &secret).await;
    let mut broken = server("broken");
    broken["spec"]["identity"]["local"]["usersSecretRef"]["name"] = json!("bad");
    apply::<McpServer>(&world.client, &world.namespace, &broken).await;
    let found =
        reaches(&world.client, &world.namespace, "broken", "ResolvedRefs", "False", "InvalidRef").await;
    let message = &condition(&found, "ResolvedRefs").unwrap().message;
    assert!(message.contains("argon2id") && !message.contains("hunter2"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_redis() {
    let world = world("noredis", &format!("redis://127.0.0.1:{}", free_port())).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    let found =
        reaches(&world.client, &world.namespace, "one", "Programmed", "False", "RedisUnavailable").await;
    let message = &condition(&found, "Programmed").unwrap().message;
    assert!(message.contains("redis://127.0.0.1"), "{message}");
    // It stopped nothing: the pods are there.
    reaches(&world.client, &world.namespace, "one", "Available", "True", "Available").await;
    world.has_event("RedisUnavailable").await;
    assert!(world.operator.metrics().is_leading());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_evicts() {
    let redis = Redis::with(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]).await;
    let world = world("evicts", &redis.url()).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    let message = eventually("the warning", async || {
        let server = ready(&world.client, &world.namespace, "one").await;
        let message = condition(&server, "Ready")?.message.clone();
        message.contains("allkeys-lru").then_some(message)
    })
    .await;
    assert!(message.contains("noeviction"), "{message}");
    world.has_event("ConfigurationWarning").await;
}

/// An admission webhook that nobody answers: the API server fails each write, and the status says so until it is mended.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_does_not_answer() {
    let redis = Redis::start().await;
    let world = world("webhook", &redis.url()).await;
    let hooks: Api<ValidatingWebhookConfiguration> = Api::all(world.client.clone());
    let hook: ValidatingWebhookConfiguration = serde_json::from_value(json!({
        "metadata": { "name": world.namespace },
        "webhooks": [{
            "name": "nowhere.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": { "url": format!("https://127.0.0.1:{}/", free_port()) },
            "failurePolicy": "Fail",
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": world.namespace } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["services"] }],
        }],
    }))
    .unwrap();
    hooks.create(&PostParams::default(), &hook).await.unwrap();
    let services: Api<Service> = Api::namespaced(world.client.clone(), &world.namespace);
    let probe: Service = serde_json::from_value(json!({ "metadata": { "name": "probe" },
        "spec": { "ports": [{ "port": 80 }] } }))
    .unwrap();
    eventually("the webhook to be in force", async || {
        let params = PostParams { dry_run: false, ..PostParams::default() };
        services.create(&params, &probe).await.err().or({
            let _ = services.delete("probe", &DeleteParams::default()).await;
            None
        })
    })
    .await;
    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    let found = reaches(&world.client, &world.namespace, "one", "Programmed", "False", "ApplyFailed").await;
    let message = &condition(&found, "Programmed").unwrap().message;
    assert!(message.contains("nowhere.example.com"), "{message}");
    assert_eq!(condition(&found, "Stalled").unwrap().status, "False", "nobody need touch the server");
    world.has_event("ApplyFailed").await;
    hooks.delete(&world.namespace, &DeleteParams::default()).await.unwrap();
    ready(&world.client, &world.namespace, "one").await;
}

/// Puts a schema in force under which any spec is let in, those that the newer one takes among them, so that the tests
/// beside this one are not disturbed.
async fn install_older(client: &Client, name: &str) {
    let mut all = gatehouse_operator::crd::definitions().into_iter();
    let mut older = all.find(|crd| crd.metadata.name.as_deref() == Some(name)).unwrap();
    let schema = older.spec.versions[0].schema.as_mut().unwrap().open_api_v3_schema.as_mut().unwrap();
    let spec = schema.properties.as_mut().unwrap().get_mut("spec").unwrap();
    *spec = serde_json::from_value(json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }))
        .unwrap();
    schema.x_kubernetes_validations = None;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(&older)).await.unwrap();
}

/// A policy that cannot be read must not free the servers that it is for: they keep their last good configuration.
#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_an_older_schema_wrote() {
    let redis = Redis::start().await;
    let world = world("olderpolicy", &redis.url()).await;
    let policy = |access: serde_json::Value| {
        json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "OAuthClientPolicy", "metadata": { "name": "strict" },
            "spec": { "targetRefs": [{ "name": "one" }], "lifetimes": { "accessToken": access } } })
    };
    apply::<OAuthClientPolicy>(&world.client, &world.namespace, &policy(json!("10m"))).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("one")).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("other")).await;
    let before = eventually("it to run with the policy", async || {
        let status = ready(&world.client, &world.namespace, "one").await.status?;
        (status.policy.as_ref()?.name == "strict").then_some(status)
    })
    .await;
    ready(&world.client, &world.namespace, "other").await;

    let resource = ApiResource::erase::<OAuthClientPolicy>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let schema = crate::SCHEMA.write().await;
    install_older(&world.client, "oauthclientpolicies.gatehouse.dev").await;
    eventually("the older schema to be in force", async || {
        let old = policy(json!(600));
        objects.patch("strict", &PatchParams::apply("user").force(), &Patch::Apply(&old)).await.ok()
    })
    .await;
    ApiServer::shared().await.install_crds().await;
    drop(schema);

    let after =
        reaches(&world.client, &world.namespace, "one", "Accepted", "False", "PolicyUnreadable").await;
    let message = &condition(&after, "Accepted").unwrap().message;
    assert!(message.contains("strict"), "{message}");
    let after = after.status.unwrap();
    assert_eq!(
        (after.config_hash, after.policy),
        (before.config_hash, before.policy),
        "it runs on as it was"
    );
    ready(&world.client, &world.namespace, "other").await;
    world.has_event("PolicyUnreadable").await;
    world.has_event("Invalid").await;
    let mended = Patch::Merge(json!({ "spec": { "lifetimes": { "accessToken": "10m" } } }));
    objects.patch("strict", &PatchParams::default(), &mended).await.unwrap();
    ready(&world.client, &world.namespace, "one").await;
}

/// A server that cannot be read keeps its host, also for an operator that never could read it.
#[tokio::test(flavor = "multi_thread")]
async fn an_incumbent_that_an_older_schema_wrote() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let (first, second) = (api.namespace("incumbent").await, api.namespace("rival").await);
    for namespace in [&first, &second] {
        references(&client, namespace).await;
    }
    let redis = Redis::start().await;
    let start =
        async || Operator::with(api.config(), config(&[&first, &second], &redis.url()), "e2e", None).await;
    let _kubelets = [Kubelet::start(client.clone(), &first), Kubelet::start(client.clone(), &second)];
    let operator = start().await;
    let mut holder = server("holder");
    let host = format!("{first}.example.com");
    holder["spec"]["url"] = json!(format!("https://{host}/holder/mcp"));
    holder["spec"]["issuer"] = json!(format!("https://{host}/holder"));
    apply::<McpServer>(&client, &first, &holder).await;
    ready(&client, &first, "holder").await;
    operator.stop().await.unwrap();

    let resource = ApiResource::erase::<McpServer>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &first, &resource);
    let schema = crate::SCHEMA.write().await;
    install_older(&client, "mcpservers.gatehouse.dev").await;
    eventually("the older schema to be in force", async || {
        let old = Patch::Merge(json!({ "spec": { "backends": "tools" } }));
        objects.patch("holder", &PatchParams::default(), &old).await.ok()
    })
    .await;
    api.install_crds().await;
    drop(schema);

    let operator = start().await;
    let mut rival = server("rival");
    rival["spec"]["url"] = json!(format!("https://{host}/rival/mcp"));
    rival["spec"]["issuer"] = json!(format!("https://{host}/rival"));
    apply::<McpServer>(&client, &second, &rival).await;
    let found = reaches(&client, &second, "rival", "Accepted", "False", "HostConflict").await;
    let message = &condition(&found, "Accepted").unwrap().message;
    assert!(message.contains(&format!("{first}/holder")), "{message}");

    // It goes, and the host is free.
    objects.delete("holder", &DeleteParams::default()).await.unwrap();
    ready(&client, &second, "rival").await;
    operator.stop().await.unwrap();
}

/// What server-side apply cannot read, the API server tells as a failure of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_template_that_can_never_be_applied() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("untypable").await;
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
    let labels = json!({ "app": "x" });
    let pod = json!({ "containers": [{ "name": "x", "image": "x" }], "imagePullSecrets": [{ "name": "a" }, { "name": "a" }] });
    let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "x" },
        "spec": { "selector": { "matchLabels": labels }, "template": { "metadata": { "labels": labels }, "spec": pod } } });
    let answer = deployments.patch("x", &PatchParams::apply("e2e"), &Patch::Apply(&object)).await;
    let Err(kube::Error::Api(status)) = answer else { panic!("{answer:?}") };
    assert_eq!(status.code, 500, "{status:?}");
    assert!(status.message.starts_with("failed to create typed patch object"), "{status:?}");
}

/// An object that an older version of the CRD let in: it lacks what is required now, and has a field of another type.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_an_older_schema_wrote() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("older").await;
    let other = crate::SCHEMA.write().await;
    references(&client, &namespace).await;
    install_older(&client, "mcpservers.gatehouse.dev").await;

    let resource = ApiResource::erase::<McpServer>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    let old = json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer", "metadata": { "name": "old" },
        "spec": { "url": "https://old.example.com/mcp", "backends": "github-tools" } });
    let lacks = json!({ "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer", "metadata": { "name": "lacks" },
        "spec": { "url": "https://lacks.example.com/mcp", "backends": [] } });
    for object in [&old, &lacks] {
        let name = object["metadata"]["name"].as_str().unwrap();
        eventually("the older schema to be in force", async || {
            objects.patch(name, &PatchParams::apply("user"), &Patch::Apply(object)).await.ok()
        })
        .await;
    }
    api.install_crds().await;
    let mut bad = server("refused");
    bad["spec"]["backends"] = json!("github-tools");
    eventually("the newer schema to be in force", async || {
        let params = PatchParams { dry_run: true, ..PatchParams::apply("user") };
        objects.patch("refused", &params, &Patch::Apply(&bad)).await.err()
    })
    .await;
    drop(other);

    let redis = Redis::start().await;
    let operator = Operator::start(api.config(), &namespace, &redis.url()).await;
    let _kubelet = Kubelet::start(client.clone(), &namespace);
    apply::<McpServer>(&client, &namespace, &server("good")).await;
    ready(&client, &namespace, "good").await;
    let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
    let told = async |name: &str| {
        let events = events.list(&ListParams::default()).await.ok()?;
        let about = |e: &Event| {
            e.reason.as_deref() == Some("Invalid")
                && e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name)
                && e.note.as_deref().is_some_and(|n| n.contains("cannot be read"))
        };
        events.iter().find(|e| about(e)).map(|e| e.series.is_none())
    };
    eventually("an event for the object of another type", async || told("old").await).await;
    eventually("an event for the object that lacks fields", async || told("lacks").await).await;
    // The API server lets nobody write the status of an object that its rules cannot be evaluated on, so the event must
    // do; where it lets us, the condition is there.
    for name in ["old", "lacks"] {
        let patch = Patch::Merge(json!({ "status": { "version": "probe" } }));
        let params = PatchParams { dry_run: true, ..PatchParams::default() };
        if objects.patch_status(name, &params, &patch).await.is_ok() {
            eventually("a condition", async || {
                let object = objects.get(name).await.ok()?;
                let conditions = object.data["status"]["conditions"].as_array()?.clone();
                let accepted = conditions.into_iter().find(|c| c["type"] == "Accepted")?;
                (accepted["status"] == "False" && accepted["reason"] == "Invalid").then_some(())
            })
            .await;
        } else {
            eprintln!("the API server refuses to write the status of {name}");
        }
    }
    operator.quiet().await;
    assert_eq!((told("old").await, told("lacks").await), (Some(true), Some(true)), "each is said once");
    for name in ["old", "lacks"] {
        let _ = objects.delete(name, &kube::api::DeleteParams::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_github_scope_that_access_needs() {
    let redis = Redis::start().await;
    let world = world("scope", &redis.url()).await;
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "github-app" },
        "stringData": { "client-secret": "a secret of the app" } });
    apply::<Secret>(&world.client, &world.namespace, &secret).await;
    let mut broken = server("broken");
    broken["spec"]["identity"] = json!({ "oauth2": { "provider": "GitHub", "clientId": "Ov23example",
        "clientSecretRef": { "name": "github-app", "key": "client-secret" }, "scopes": ["repo"] } });
    broken["spec"]["access"] = json!({ "allow": [{ "groups": ["acme/platform"] }] });
    apply::<McpServer>(&world.client, &world.namespace, &broken).await;
    apply::<McpServer>(&world.client, &world.namespace, &server("good")).await;
    let found = reaches(&world.client, &world.namespace, "broken", "Accepted", "False", "ScopeMissing").await;
    let message = &condition(&found, "Accepted").unwrap().message;
    let words = ["spec.identity.oauth2.scopes", "read:org", "found: repo", "spec.access.allow[0].groups"];
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
    world.has_event("ScopeMissing").await;
    ready(&world.client, &world.namespace, "good").await;

    broken["spec"]["identity"]["oauth2"]["scopes"] = json!(["repo", "read:org"]);
    apply::<McpServer>(&world.client, &world.namespace, &broken).await;
    ready(&world.client, &world.namespace, "broken").await;
}
