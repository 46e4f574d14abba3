//! The whole path on a real Kubernetes: chart, operator, gateways, users, a roll-out and a removal.
//!
//! `tests/run cluster`. With `KUBECONFIG` it runs on that cluster, in the namespaces `gatehouse-suite-system` and
//! `gatehouse-suite`, which it makes and removes, as it does the definitions. Where Gatehouse is installed already it
//! touches nothing and fails.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use e2e::{
    clients::{Home, Sdk, Session},
    cluster::{Cluster, top, with_cluster},
    dev::gatehouse,
    net::{eventually, http_by_route},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};

/// Where the chart is installed.
const SYSTEM: &str = "gatehouse-suite-system";
/// Where the tenant lives.
const TENANT: &str = "gatehouse-suite";
/// What belongs to the server of the quick start.
const OURS: &str = "gatehouse.dev/server=quickstart";
/// How long a caller whose connection was refused waits before the next, as an ingress does: one that asked in a loop would
/// count one moment of one pod many times.
const COMES_AGAIN: Duration = Duration::from_millis(20);
/// Everything that a server may consist of.
const KINDS: &str = "deployments,replicasets,pods,services,endpointslices,serviceaccounts,configmaps,secrets";

#[tokio::test(flavor = "multi_thread")]
async fn from_helm_install_to_nothing_left() {
    with_cluster("from_helm_install_to_nothing_left", SYSTEM, async |cluster| {
        refuse_an_installation_of_others(&cluster).await;
        cluster.load_images().await;
        install(&cluster).await;
        examples_are_accepted(&cluster).await;
        quick_start(&cluster).await;
        let forward = cluster.forward(TENANT, "quickstart-gateway", "8080:80").await;
        each_user_acts_as_themselves().await;
        let bearer = token("alice").await;
        drop(forward);
        rolls_without_losing_a_request(&cluster, &bearer).await;
        works_with_rights_in_one_namespace(&cluster).await;
        leaves_nothing(&cluster).await;
        uninstall(&cluster).await;
    })
    .await;
}

async fn namespace(cluster: &Cluster, name: &str) {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Namespace",
        // Whatever runs here meets the restricted Pod Security Standard, or is refused.
        "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": "restricted" } },
    });
    cluster.apply("default", &manifest.to_string()).await;
}

/// Deleting the definitions at the end deletes every server of the cluster: somebody else's must not be there.
async fn refuse_an_installation_of_others(cluster: &Cluster) {
    for crd in ["crd/mcpservers.gatehouse.dev", "crd/oauthclientpolicies.gatehouse.dev"] {
        let crd = cluster.get("default", crd).await;
        let owner = crd["metadata"]["annotations"]["meta.helm.sh/release-namespace"].as_str();
        assert!(crd.is_null() || owner == Some(SYSTEM), "Gatehouse is installed here already: {owner:?}");
    }
}

/// `helm install`, with the development Redis, until both operator replicas are ready and one leads.
async fn install(cluster: &Cluster) {
    // What a run that failed left.
    cluster.kubectl(&["delete", "namespace", SYSTEM, TENANT, "--ignore-not-found", "--timeout=180s"]).await;
    namespace(cluster, SYSTEM).await;
    let notes = release(cluster, &[]).await;
    assert!(notes.contains("WARNING: redis.dev.enabled"), "{notes}");
    let password = cluster.get(SYSTEM, "secret/gatehouse-redis").await["data"]["password"].clone();
    release(cluster, &[]).await;
    let kept = cluster.get(SYSTEM, "secret/gatehouse-redis").await["data"]["password"].clone();
    assert_eq!(kept, password, "an upgrade keeps the password of the development Redis");
    let lease = cluster.get(SYSTEM, "lease/gatehouse").await;
    assert!(
        lease["spec"]["holderIdentity"].as_str().is_some_and(|h| h.contains("gatehouse-")),
        "no leader: {lease}"
    );
}

/// Installs or upgrades the release, and returns its notes.
async fn release(cluster: &Cluster, values: &[&str]) -> String {
    let chart = top().join("charts/gatehouse");
    let mut arguments = vec!["upgrade", "--install", "gatehouse", chart.to_str().unwrap(), "-n", SYSTEM];
    arguments.extend(["--wait", "--timeout", "3m", "--set", "redis.dev.enabled=true"]);
    if cluster.is_ours() {
        let image = "redis.dev.image.repository=gatehouse.local/redis,redis.dev.image.tag=test";
        arguments.extend(["--set", image, "--set", "redis.dev.command={/redis-server}"]);
    }
    for value in values {
        arguments.extend(["--set", value]);
    }
    let notes = cluster.helm(&arguments).await;
    cluster.kubectl(&["-n", SYSTEM, "rollout", "status", "deployment/gatehouse", "--timeout=60s"]).await;
    notes
}

/// Each example is what this API server takes.
async fn examples_are_accepted(cluster: &Cluster) {
    for entry in std::fs::read_dir(top().join("crds/examples")).unwrap() {
        let path = entry.unwrap().path();
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "-f", path.to_str().unwrap()];
        cluster.kubectl(&arguments).await;
    }
}

/// The quick start of the README, until it is ready.
async fn quick_start(cluster: &Cluster) {
    namespace(cluster, TENANT).await;
    let manifest = std::fs::read_to_string(top().join("crds/examples/quickstart.yaml")).unwrap();
    cluster.apply(TENANT, &manifest).await;
    cluster.wait(TENANT, "mcps/quickstart", "condition=Ready", "2m").await;
    let server = cluster.get(TENANT, "mcps/quickstart").await;
    assert_eq!(server["status"]["observedGeneration"], server["metadata"]["generation"]);
    assert_eq!(server["status"]["readyReplicas"], 2);
    assert_eq!(condition(&server, "TenantIsolated")["status"], "True", "{server}");
}

fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default()
}

/// Two users at once, each with a real client, through the Service: the backend pod sees each one's own token.
async fn each_user_acts_as_themselves() {
    let url = "http://localhost:8080/mcp";
    let (mut alice, mut bob) = tokio::join!(
        Session::connect(Sdk::TypeScript1, url, "alice"),
        Session::connect(Sdk::TypeScript2, url, "bob")
    );
    for _ in 0..5 {
        let (a, b) = tokio::join!(alice.whoami(), bob.whoami());
        assert!(a.contains("alice") && !a.contains("bob"), "{a}");
        assert!(b.contains("bob") && !b.contains("alice"), "{b}");
    }
    alice.close().await;
    bob.close().await;
}

/// A bearer of a user, by the command that the README names.
async fn token(user: &str) -> String {
    let home = Home::of(user);
    let mut command = gatehouse();
    command.args(["token", "http://localhost:8080/mcp"]);
    home.enter(&mut command);
    let output = command.output().await.expect("gatehouse starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A change of the CR replaces every pod while calls go on, half of them each on a connection of its own.
async fn rolls_without_losing_a_request(cluster: &Cluster, bearer: &str) {
    let door = door(cluster).await;
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|n| call_until(door.clone(), bearer.to_owned(), n % 2 == 0, stop.clone(), count.clone()))
        .map(tokio::spawn)
        .collect();
    let go_on = async |more: usize| {
        let until = count.load(Ordering::Relaxed) + more;
        eventually("more calls", async || {
            assert!(!callers.iter().any(JoinHandle::is_finished), "a caller failed, see above");
            (count.load(Ordering::Relaxed) > until).then_some(())
        })
        .await;
    };
    go_on(20).await;

    let before = cluster.get(TENANT, "mcps/quickstart").await;
    let pods = pods(cluster).await;
    patch_and_wait(cluster, r#"{"spec":{"display":{"name":"Rolled"}}}"#).await;
    eventually("the old pods to be gone", async || {
        let now = self::pods(cluster).await;
        (now.len() == 2 && now.iter().all(|p| !pods.contains(p))).then_some(())
    })
    .await;
    let after = cluster.get(TENANT, "mcps/quickstart").await;
    assert_ne!(before["status"]["configHash"], after["status"]["configHash"]);
    go_on(20).await;

    stop.store(true, Ordering::Relaxed);
    let mut refused = 0;
    for caller in callers {
        refused += caller.await.unwrap();
    }
    let count = count.load(Ordering::Relaxed);
    eprintln!(
        "{count} calls during a roll-out, none lost; {refused} connections were refused and opened again"
    );
    assert!(refused * 50 < count, "{refused} of {count} connections were refused");
    eventually("one configuration to be left", async || {
        let maps = cluster.kubectl(&["-n", TENANT, "get", "configmaps", "-l", OURS, "-o", "name"]).await;
        (maps.lines().count() == 1).then_some(())
    })
    .await;
}

/// With `watch.namespaces` the operator has no right in the cluster, and does the same.
async fn works_with_rights_in_one_namespace(cluster: &Cluster) {
    let namespaces = format!("watch.namespaces[0]={TENANT}");
    release(cluster, &[&namespaces, "hosts.allow[0]=*.{namespace}.example.com"]).await;
    let (_, role, _) =
        cluster.try_kubectl(&["get", "clusterrole,clusterrolebinding", "gatehouse", "-o", "name"], "").await;
    assert_eq!(role, "");
    patch_and_wait(cluster, r#"{"spec":{"gateway":{"replicas":1}}}"#).await;
    // Ready says that there are enough pods; the one too many goes a moment later.
    cluster.wait(TENANT, "mcps/quickstart", "jsonpath={.status.readyReplicas}=1", "60s").await;
}

/// Changes the server, and waits until it is ready as changed.
async fn patch_and_wait(cluster: &Cluster, patch: &str) {
    let before = cluster.get(TENANT, "mcps/quickstart").await;
    cluster.kubectl(&["-n", TENANT, "patch", "mcps/quickstart", "--type=merge", "-p", patch]).await;
    let generation = before["metadata"]["generation"].as_i64().unwrap() + 1;
    let observed = format!("jsonpath={{.status.observedGeneration}}={generation}");
    cluster.wait(TENANT, "mcps/quickstart", &observed, "60s").await;
    cluster.wait(TENANT, "mcps/quickstart", "condition=Ready", "3m").await;
}

async fn pods(cluster: &Cluster) -> Vec<String> {
    let text = cluster.kubectl(&["-n", TENANT, "get", "pods", "-l", OURS, "-o", "name"]).await;
    text.lines().map(str::to_owned).collect()
}

/// `node address:port` of a NodePort before the gateway's pods: kubectl's port-forward ends with the pod it picked.
async fn door(cluster: &Cluster) -> String {
    let service = cluster.get(TENANT, "service/quickstart-gateway").await;
    let spec = json!({
        "type": "NodePort", "selector": service["spec"]["selector"],
        "ports": [{ "port": 80, "targetPort": service["spec"]["ports"][0]["targetPort"] }],
    });
    let door = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "door" }, "spec": spec });
    cluster.apply(TENANT, &door.to_string()).await;
    let port = cluster.get(TENANT, "service/door").await["spec"]["ports"][0]["nodePort"].as_i64().unwrap();
    let path = "jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    let node = cluster.kubectl(&["get", "nodes", "-o", path]).await;
    let door = format!("{node}:{port}");
    eventually("the node to know the port", async || TcpStream::connect(&door).await.ok()).await;
    door
}

/// Calls until told to stop. A connection that is refused carried nothing and is opened again, as every ingress does:
/// kube-proxy lags behind the pods for milliseconds. How often is returned, since a gateway that closes its port while
/// it is still in the load balancer would make it often. Who keeps connections is told on each answer when it is the last.
async fn call_until(
    door: String,
    bearer: String,
    keeps: bool,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
) -> usize {
    let mut refused = 0;
    let client = http_by_route();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "whoami", "arguments": {} } });
    while !stop.load(Ordering::Relaxed) {
        let request =
            client.post(format!("http://{door}/mcp")).bearer_auth(&bearer).header("host", "localhost:8080");
        let request = request.header("connection", if keeps { "keep-alive" } else { "close" });
        let request = request.header("accept", "application/json, text/event-stream").json(&call);
        let request = request.timeout(Duration::from_secs(20));
        let answer = match request.send().await {
            Err(error) if error.is_connect() => {
                refused += 1;
                tokio::time::sleep(COMES_AGAIN).await;
                continue;
            }
            answer => answer.expect("a call was lost"),
        };
        let (status, body) = (answer.status(), answer.text().await.expect("an answer was cut off"));
        assert!(status.is_success() && body.contains("alice"), "{status}: {body}");
        count.fetch_add(1, Ordering::Relaxed);
    }
    refused
}

/// Deleting the server removes everything that it consisted of, without the operator's help.
async fn leaves_nothing(cluster: &Cluster) {
    cluster.kubectl(&["-n", TENANT, "delete", "mcps/quickstart", "--wait", "--timeout=60s"]).await;
    cluster.gone(TENANT, KINDS, OURS).await;
    // Not by label, in case an object carries none.
    let left = cluster.kubectl(&["-n", TENANT, "get", KINDS, "-o", "name"]).await;
    let left: Vec<_> = left.lines().filter(|l| l.contains("quickstart-gateway")).collect();
    assert!(left.is_empty(), "{left:?}");
    // Its Redis user goes too; what it stored was sealed with the keys that are gone, and ends by itself.
    let _forward = cluster.forward(SYSTEM, "gatehouse-redis", "16379:6379").await;
    let password = cluster.get(SYSTEM, "secret/gatehouse-redis").await["data"]["password"].clone();
    let password = STANDARD.decode(password.as_str().unwrap()).unwrap();
    let password = String::from_utf8(password).unwrap();
    let client = redis::Client::open(format!("redis://:{password}@127.0.0.1:16379")).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    eventually("the Redis user to be gone", async || {
        let users: Vec<String> = redis::cmd("ACL").arg("USERS").query_async(&mut redis).await.unwrap();
        (users == ["default"]).then_some(())
    })
    .await;
}

/// `helm uninstall` keeps the definitions, and with them every server that is left.
async fn uninstall(cluster: &Cluster) {
    cluster.helm(&["uninstall", "gatehouse", "-n", SYSTEM, "--wait"]).await;
    let crds = cluster.kubectl(&["get", "crds", "-o", "name"]).await;
    assert!(
        crds.contains("mcpservers.gatehouse.dev") && crds.contains("oauthclientpolicies.gatehouse.dev"),
        "{crds}"
    );
    cluster.kubectl(&["delete", "namespace", TENANT, SYSTEM, "--timeout=120s"]).await;
    cluster
        .kubectl(&["delete", "crds", "mcpservers.gatehouse.dev", "oauthclientpolicies.gatehouse.dev"])
        .await;
}
