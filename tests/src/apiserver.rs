//! A real kube-apiserver on etcd, without nodes: one for each test process, shared by its tests.
//!
//! The binaries come from the directory `GATEHOUSE_K8S_BIN`, or from where `tests/run` builds them
//! (`~/.cache/gatehouse/kubernetes`). Nothing runs Deployments here; [`Kubelet`] says in their status that all is well.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, ServiceAccount},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::net::{eventually, free_port};

/// The administrator's token.
const ADMIN: &str = "admin-token";

/// A running API server. It ends with the test process.
#[derive(Debug)]
pub struct ApiServer {
    port: u16,
    directory: PathBuf,
}

static SHARED: OnceLock<ApiServer> = OnceLock::new();

impl ApiServer {
    /// The process's API server, started at the first call, with Gatehouse's CRDs installed.
    pub async fn shared() -> &'static Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = tokio::task::spawn_blocking(|| SHARED.get_or_init(start)).await.expect("it starts");
        server.ready().await;
        server.install_crds().await;
        server
    }

    /// How an administrator reaches it.
    pub fn config(&self) -> Config {
        self.config_with(ADMIN)
    }

    /// How the holder of a token reaches it.
    pub fn config_with(&self, token: &str) -> Config {
        let url = format!("https://127.0.0.1:{}", self.port).parse().expect("it is a URL");
        let mut config = Config::new(url);
        // The server signs its own certificate, in a directory of the test's own.
        config.accept_invalid_certs = true;
        config.auth_info.token = Some(token.to_owned().into());
        config
    }

    /// An administrator's client.
    pub fn client(&self) -> Client {
        Client::try_from(self.config()).expect("the configuration is good")
    }

    /// A kubeconfig file of the administrator's.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.directory.join("kubeconfig");
        let server = format!("https://127.0.0.1:{}", self.port);
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{ "name": "c", "cluster": { "server": server, "insecure-skip-tls-verify": true } }],
            "users": [{ "name": "u", "user": { "token": ADMIN } }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        });
        std::fs::write(&path, text.to_string()).expect("the directory can be written");
        path
    }

    /// A new namespace, whose name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> String {
        let namespace = Namespace {
            metadata: ObjectMeta { generate_name: Some(format!("{prefix}-")), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let api: Api<Namespace> = Api::all(self.client());
        api.create(&PostParams::default(), &namespace).await.expect("it is made").name_any()
    }

    /// A token of a service account.
    pub async fn token(&self, namespace: &str, account: &str) -> String {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request = TokenRequest { spec: Some(TokenRequestSpec::default()), ..TokenRequest::default() };
        let made = api.create_token_request(account, &PostParams::default(), &request).await;
        made.expect("it is made").status.and_then(|status| status.token).expect("it is answered")
    }

    /// Deletes every McpServer, so that a test that looks at all of them begins with none.
    pub async fn delete_servers(&self) {
        let all: Api<gatehouse_operator::crd::McpServer> = Api::all(self.client());
        for server in all.list(&ListParams::default()).await.expect("they are listed") {
            let api: Api<gatehouse_operator::crd::McpServer> =
                Api::namespaced(self.client(), &server.namespace().unwrap_or_default());
            let _ = api.delete(&server.name_any(), &DeleteParams::default()).await;
        }
    }

    async fn ready(&self) {
        let client = self.client();
        eventually("kube-apiserver to be ready (see its log)", async || {
            let request = http::Request::get("/readyz").body(Vec::new()).expect("it is a request");
            client.request_text(request).await.ok().filter(|text| text == "ok")
        })
        .await;
    }

    /// Applies the generated CRDs and waits until they are served.
    pub async fn install_crds(&self) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client());
        for definition in gatehouse_operator::crd::definitions() {
            let name = definition.name_any();
            let params = PatchParams::apply("e2e").force();
            api.patch(&name, &params, &Patch::Apply(&definition)).await.expect("the CRD is accepted");
            eventually(&format!("CRD {name} to be established"), async || {
                let crd = api.get(&name).await.ok()?;
                let conditions = crd.status?.conditions?;
                conditions.iter().find(|c| c.type_ == "Established" && c.status == "True").map(drop)
            })
            .await;
        }
    }
}

/// The directory of the Kubernetes binaries.
pub fn binaries() -> PathBuf {
    if let Some(directory) = std::env::var_os("GATEHOUSE_K8S_BIN") {
        return directory.into();
    }
    let home = std::env::var_os("HOME").expect("HOME is set");
    Path::new(&home).join(".cache/gatehouse/kubernetes")
}

fn start() -> ApiServer {
    let directory = TempDir::with_prefix("gatehouse-apiserver-").expect("a temporary directory").keep();
    let (client, peer, port) = (free_port(), free_port(), free_port());
    let etcd = format!("http://127.0.0.1:{client}");
    let peers = format!("http://127.0.0.1:{peer}");
    spawn(
        &directory,
        "etcd",
        &[
            "--data-dir=etcd".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={etcd}"),
            format!("--advertise-client-urls={etcd}"),
            format!("--listen-peer-urls={peers}"),
            format!("--initial-advertise-peer-urls={peers}"),
            format!("--initial-cluster=default={peers}"),
        ],
    );
    let mut key = Command::new("openssl");
    key.args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key"])
        .current_dir(&directory);
    let made = key.status().expect("openssl is installed");
    assert!(made.success(), "openssl made no key");
    std::fs::write(directory.join("tokens.csv"), format!("{ADMIN},admin,admin,system:masters\n"))
        .expect("written");
    spawn(
        &directory,
        "kube-apiserver",
        &[
            format!("--etcd-servers={etcd}"),
            format!("--secure-port={port}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--cert-dir=certs".to_owned(),
            "--token-auth-file=tokens.csv".to_owned(),
            "--service-account-key-file=sa.key".to_owned(),
            "--service-account-signing-key-file=sa.key".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--watch-cache=true".to_owned(),
        ],
    );
    ApiServer { port, directory }
}

/// Starts a program that ends when this process does, from a thread that lives as long: the kernel's signal is bound
/// to the thread.
fn spawn(directory: &Path, name: &'static str, arguments: &[String]) {
    let program = binaries().join(name);
    assert!(program.exists(), "{} is missing; `tests/run` builds it", program.display());
    let log =
        std::fs::File::create(directory.join(format!("{name}.log"))).expect("the directory can be written");
    let mut command = Command::new("setpriv");
    command.arg("--pdeathsig=KILL").arg(program).args(arguments).current_dir(directory);
    let errors = log.try_clone().expect("a file can be shared");
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    std::thread::spawn(move || {
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{name} cannot be started: {e}"));
        let status = child.wait();
        eprintln!("{name} ended: {status:?}");
    });
}

/// Stands in for the Deployment controller and the nodes: it says that every pod which is asked for is ready.
#[derive(Debug)]
pub struct Kubelet(JoinHandle<()>);

impl Kubelet {
    /// Begins with the Deployments of a namespace.
    pub fn start(client: Client, namespace: &str) -> Self {
        let api: Api<Deployment> = Api::namespaced(client, namespace);
        Self(tokio::spawn(async move {
            loop {
                for deployment in api.list(&ListParams::default()).await.into_iter().flatten() {
                    Self::make_ready(&api, &deployment).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }))
    }

    async fn make_ready(api: &Api<Deployment>, deployment: &Deployment) {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        let generation = deployment.metadata.generation;
        let status = deployment.status.clone().unwrap_or_default();
        if status.observed_generation == generation && status.ready_replicas.unwrap_or(0) == wanted {
            return;
        }
        let status = json!({ "status": { "observedGeneration": generation, "replicas": wanted,
            "updatedReplicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted } });
        // The Deployment may be gone by now.
        let params = PatchParams::default();
        let _ = api.patch_status(&deployment.name_any(), &params, &Patch::Merge(&status)).await;
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.0.abort();
    }
}
