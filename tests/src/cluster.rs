//! A real Kubernetes: the one that `KUBECONFIG` names, or a node of our own from `tests/cluster`.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{net::eventually, process::Process};

/// The state directory of our own node, set for the part of a suite that runs beside it.
const STATE: &str = "GATEHOUSE_CLUSTER";

/// A cluster, and what is needed to talk to it.
#[derive(Debug)]
pub struct Cluster {
    kubectl: PathBuf,
    helm: PathBuf,
    /// Where the operator is.
    system: &'static str,
}

/// Runs `suite` against a cluster.
///
/// Without `KUBECONFIG` this starts the node of `tests/cluster` and runs the calling test again in the node's network
/// namespace, where its pods, Services and loopback are reachable and nothing else is. `system` is the namespace that
/// the suite installs the operator in.
///
/// # Panics
/// When the cluster cannot be had, or the suite fails.
pub async fn with_cluster(test: &str, system: &'static str, suite: impl AsyncFnOnce(Cluster)) {
    if std::env::var_os("KUBECONFIG").is_some() {
        return suite(Cluster::from_environment(system).await).await;
    }
    let state = said(&mut script("up")).await;
    let mut again = Command::new("nsenter");
    again.arg("--net=/run/netns/gatehouse").arg(std::env::current_exe().expect("a test knows its program"));
    again.args([test, "--exact", "--nocapture"]);
    // Its summary is this test's, and must not be counted twice.
    again.stdout(Stdio::null()).kill_on_drop(true);
    again.env("KUBECONFIG", format!("{state}/admin.conf")).env(STATE, &state);
    let status = again.status().await.expect("nsenter starts (tests/run installs it)");
    // A failed suite's node stays, to be looked at: the next `up` takes it as it is, `down` removes it.
    assert!(status.success(), "the suite failed; its node is still there: {state}/admin.conf, {state}/log");
    assert!(script("down").status().await.is_ok_and(|s| s.success()), "tests/cluster/down failed");
}

/// A program of `tests/cluster`.
fn script(name: &str) -> Command {
    Command::new(top().join("tests/cluster").join(name))
}

/// The top of the repository.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// The last line that a program says.
async fn said(command: &mut Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().await.expect("the program exists");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?} failed ({}): {text}", output.status);
    text.lines().last().unwrap_or_default().to_owned()
}

impl Cluster {
    async fn from_environment(system: &'static str) -> Self {
        let on_path = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).map(|d| d.join(name)).find(|p| p.is_file())
        };
        let kit = match (on_path("kubectl"), on_path("helm")) {
            (Some(kubectl), Some(helm)) if std::env::var_os(STATE).is_none() => {
                return Self { kubectl, helm, system };
            }
            _ => PathBuf::from(said(&mut script("tools")).await),
        };
        Self { kubectl: kit.join("kubectl"), helm: kit.join("helm"), system }
    }

    /// Whether this is the node of `tests/cluster`, which can pull no image.
    pub fn is_ours(&self) -> bool {
        std::env::var_os(STATE).is_some()
    }

    /// Builds the images of this checkout, or takes the archives in `$GATEHOUSE_IMAGES`, and gives them to the nodes.
    pub async fn load_images(&self) {
        let directory = match std::env::var_os("GATEHOUSE_IMAGES") {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(said(&mut script("images")).await),
        };
        let images = ["operator", "gateway", "demo", "redis"];
        let wanted = if self.is_ours() { &images[..] } else { &images[..3] };
        let mut load = script("load");
        load.args(wanted.iter().map(|i| directory.join(format!("{i}.tar"))));
        // It asks kubectl which cluster it is.
        let kit = self.kubectl.parent().expect("it is a file").to_path_buf();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::env::split_paths(&path).chain([kit]));
        let status = load.env("PATH", path.expect("PATH was one")).status().await;
        assert!(status.is_ok_and(|s| s.success()), "the images cannot be given to the cluster");
    }

    /// `kubectl`, whose standard output is returned.
    ///
    /// # Panics
    /// When it fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let (status, out, err) = self.try_kubectl(arguments, "").await;
        assert!(status.success(), "kubectl {arguments:?}: {err}{out}");
        out
    }

    /// `kubectl` with something on its standard input: its status, standard output and standard error.
    pub async fn try_kubectl(&self, arguments: &[&str], input: &str) -> (ExitStatus, String, String) {
        run(Command::new(&self.kubectl).args(arguments), input).await
    }

    /// Applies manifests to a namespace.
    ///
    /// # Panics
    /// When the API server refuses them.
    pub async fn apply(&self, namespace: &str, manifests: &str) {
        let (status, out, err) = self.try_kubectl(&["-n", namespace, "apply", "-f", "-"], manifests).await;
        assert!(status.success(), "{err}{out}");
    }

    /// An object, or null when there is none.
    pub async fn get(&self, namespace: &str, object: &str) -> Value {
        let text = self.kubectl(&["-n", namespace, "get", object, "-o", "json", "--ignore-not-found"]).await;
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("kubectl writes JSON") }
    }

    /// `kubectl wait` for a condition.
    ///
    /// # Panics
    /// When it does not come about; the message holds what `describe`, the events and the logs say.
    pub async fn wait(&self, namespace: &str, object: &str, condition: &str, timeout: &str) {
        let (flag, limit) = (format!("--for={condition}"), format!("--timeout={timeout}"));
        let (status, _, err) = self.try_kubectl(&["-n", namespace, "wait", object, &flag, &limit], "").await;
        assert!(status.success(), "{object} in {namespace}: {err}\n{}", self.explain(namespace).await);
    }

    /// What a person would look at when something in a namespace does not work.
    pub async fn explain(&self, namespace: &str) -> String {
        let mut text = String::new();
        for arguments in [
            &["-n", namespace, "get", "all,mcps,ocpol", "-o", "wide"][..],
            &["-n", namespace, "describe", "mcps"],
            &["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"],
            &["-n", namespace, "logs", "--tail=50", "--prefix", "-l", "app.kubernetes.io/name"],
            &["-n", self.system, "logs", "--tail=80", "--prefix", "-l", "app.kubernetes.io/name=gatehouse"],
        ] {
            let (_, out, err) = self.try_kubectl(arguments, "").await;
            // Writing to a String cannot fail.
            let _ = writeln!(text, "== kubectl {}\n{out}{err}", arguments.join(" "));
        }
        text
    }

    /// `helm`, whose standard output is returned.
    ///
    /// # Panics
    /// When it fails.
    pub async fn helm(&self, arguments: &[&str]) -> String {
        let (status, out, err) = run(Command::new(&self.helm).args(arguments), "").await;
        assert!(status.success(), "helm {arguments:?}: {err}{out}\n{}", self.explain(self.system).await);
        out
    }

    /// `kubectl port-forward` to a Service, as long as the value lives.
    pub async fn forward(&self, namespace: &str, service: &str, ports: &str) -> Process {
        let mut command = Command::new(&self.kubectl);
        command.args(["-n", namespace, "port-forward", &format!("service/{service}"), ports]);
        let mut process = Process::start(command);
        let line = process.line(0).await;
        assert!(line.starts_with("Forwarding from"), "{line}\n{}", process.output());
        process
    }

    /// Waits until no object of these kinds carries a label.
    pub async fn gone(&self, namespace: &str, kinds: &str, selector: &str) {
        eventually(&format!("{kinds} with {selector} to be gone"), async || {
            let left = self.kubectl(&["-n", namespace, "get", kinds, "-l", selector, "-o", "name"]).await;
            left.is_empty().then_some(())
        })
        .await;
    }
}

async fn run(command: &mut Command, input: &str) -> (ExitStatus, String, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).await.expect("it reads its input");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it can be waited for");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status, text(&output.stdout), text(&output.stderr))
}
