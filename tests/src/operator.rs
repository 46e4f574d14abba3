//! The operator, run inside the test process against a real API server.

use std::time::Duration;

use gatehouse_operator::{
    config::OperatorConfig,
    crd::McpServer,
    lease::Timing,
    metrics::Metrics,
    run::{self, Options, RunError},
};
use k8s_openapi::{
    api::core::v1::{Secret, Service},
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use crate::net::eventually;

/// A running operator; dropped, it ends as if it were killed.
#[derive(Debug)]
pub struct Operator {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), RunError>>,
    metrics: Metrics,
    admin: String,
}

impl Operator {
    /// Runs one that leads without a lease and looks at one namespace.
    pub async fn start(kube: Config, namespace: &str, redis: &str) -> Self {
        Self::with(kube, config(&[namespace], redis), "e2e", None).await
    }

    /// Runs one with a configuration; `lease` is the namespace of its lease.
    pub async fn with(kube: Config, config: OperatorConfig, identity: &str, lease: Option<&str>) -> Self {
        Self::with_lease(kube, config, identity, lease, "gatehouse").await
    }

    /// Runs one whose lease has a name of its own.
    pub async fn with_lease(
        kube: Config,
        config: OperatorConfig,
        identity: &str,
        lease: Option<&str>,
        name: &str,
    ) -> Self {
        let admin = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback can be bound");
        let address = format!("http://{}", admin.local_addr().expect("it is bound"));
        let metrics = Metrics::default();
        let options = Options {
            kube,
            config,
            identity: identity.to_owned(),
            lease: lease.map(|namespace| (namespace.to_owned(), name.to_owned())),
            timing: Timing::default(),
            admin,
            metrics: metrics.clone(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(run::run(options, async move {
            // A sender that is dropped stops it as well.
            let _ = stopped.await;
        }));
        Self { stop: Some(stop), task, metrics, admin: address }
    }

    /// Its numbers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The origin of its admin port.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// Waits until it leads.
    pub async fn leads(&self) {
        eventually("the operator to lead", async || self.metrics.is_leading().then_some(())).await;
    }

    /// Stops it as SIGTERM does, and waits for its end.
    pub async fn stop(mut self) -> Result<(), RunError> {
        self.stop.take();
        (&mut self.task).await.expect("it does not panic")
    }

    /// Waits until it ends by itself.
    pub async fn ended(mut self) -> Result<(), RunError> {
        (&mut self.task).await.expect("it does not panic")
    }

    /// Waits until it has had nothing to write for a second.
    pub async fn quiet(&self) {
        let mut last = (self.metrics.writes(), tokio::time::Instant::now());
        eventually("the operator to be quiet", async || {
            if self.metrics.writes() != last.0 {
                last = (self.metrics.writes(), tokio::time::Instant::now());
            }
            (last.1.elapsed() > Duration::from_secs(1)).then_some(())
        })
        .await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A configuration that looks at some namespaces, or at all with none.
pub fn config(namespaces: &[&str], redis: &str) -> OperatorConfig {
    config_from(json!({
        "redis": { "url": redis, "users": "Shared" },
        "hosts": { "allow": ["*.example.com", "*.{namespace}.example.com"] },
        "watch": { "namespaces": namespaces },
    }))
}

/// A configuration as its file has it.
pub fn config_from(value: Value) -> OperatorConfig {
    serde_json::from_value(value).expect("the configuration is good")
}

/// A server with local users and one Service backend; its references are made by [`references`].
pub fn server(name: &str) -> Value {
    json!({
        "apiVersion": "gatehouse.dev/v1alpha1", "kind": "McpServer",
        "metadata": { "name": name },
        "spec": {
            "url": format!("https://{name}.example.com/mcp"),
            "identity": { "local": { "usersSecretRef": { "name": "users", "key": "users.yaml" } } },
            "access": { "everyone": {} },
            "credentials": [{ "name": "me", "fromIdentity": {} }],
            "backends": [{ "name": "tools", "service": { "name": "tools", "port": 80, "path": "/mcp" },
                "inject": [{ "credential": "me" }] }],
        },
    })
}

/// The Secret and the Service that [`server`] names.
pub async fn references(client: &Client, namespace: &str) {
    let hash =
        "$argon2id$v=19$m=19456,t=2,p=1$mFHYlGtXagusfD3r4lRY6A$SglUPcYqNsymz6bTWMuX19dHnAF+EHAEpkqtva7g8aA";
    let users = format!("- {{ name: alice, uid: 5d0cf1c4b7d84a0e, passwordHash: \"{hash}\" }}\n");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "users" },
        "stringData": { "users.yaml": users } });
    apply::<Secret>(client, namespace, &secret).await;
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "tools" },
        "spec": { "selector": { "app": "tools" }, "ports": [{ "port": 80, "targetPort": 8080 }] } });
    apply::<Service>(client, namespace, &service).await;
}

/// Applies an object as a user would.
///
/// # Panics
/// When the API server refuses it.
pub async fn apply<K>(client: &Client, namespace: &str, object: &Value) -> K
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let name = object["metadata"]["name"].as_str().expect("it has a name");
    let params = PatchParams::apply("user").force();
    api.patch(name, &params, &Patch::Apply(object)).await.unwrap_or_else(|e| panic!("{name} is refused: {e}"))
}

/// A condition of a server.
pub fn condition<'a>(server: &'a McpServer, type_: &str) -> Option<&'a Condition> {
    server.status.as_ref()?.conditions.iter().find(|c| c.type_ == type_)
}

/// Waits until a condition of a server has a status and a reason at its generation; gives the server.
pub async fn reaches(
    client: &Client,
    namespace: &str,
    name: &str,
    type_: &str,
    status: &str,
    reason: &str,
) -> McpServer {
    let api: Api<McpServer> = Api::namespaced(client.clone(), namespace);
    let what = std::cell::RefCell::new(String::new());
    let wanted = format!("{name}: {type_}={status} ({reason})");
    let reached = eventually(&wanted, async || {
        let server = api.get_opt(name).await.ok()??;
        *what.borrow_mut() = format!("{:?}", server.status);
        let found = condition(&server, type_)?;
        let holds = found.status == status
            && found.reason == reason
            && found.observed_generation == server.metadata.generation;
        holds.then_some(server)
    });
    let result = tokio::time::timeout(Duration::from_secs(45), reached).await;
    result.unwrap_or_else(|_| panic!("waited in vain for {wanted}; the status is {}", what.borrow()))
}

/// Waits until a server is Ready.
pub async fn ready(client: &Client, namespace: &str, name: &str) -> McpServer {
    reaches(client, namespace, name, "Ready", "True", "Ready").await
}
