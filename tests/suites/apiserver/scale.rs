//! Many servers: what the program takes of memory, and that it falls quiet.

use std::{collections::BTreeMap, path::Path, process::Stdio, time::Instant};

use e2e::{
    apiserver::ApiServer,
    dev::gatehouse_path,
    net::{eventually, free_port},
    operator::{references, server},
    process::Process,
    redis::Redis,
};
use futures::{StreamExt, stream};
use gatehouse_operator::crd::McpServer;
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::process::Command;

/// The most memory that the operator may take, in MiB.
const LIMIT: u64 = 64;

/// `GATEHOUSE_SERVERS=1000` for the figure that the project promises; fewer by default, for a busy machine.
fn servers() -> usize {
    std::env::var("GATEHOUSE_SERVERS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// Numbers of `/proc/PID/status`, in KiB.
fn memory(pid: u32) -> BTreeMap<String, u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    lines
        .filter_map(|(key, value)| Some((key.to_owned(), value.trim().split(' ').next()?.parse().ok()?)))
        .collect()
}

async fn writes(port: u16) -> u64 {
    let url = format!("http://127.0.0.1:{port}/metrics");
    let text = e2e::net::http().get(url).send().await.unwrap().text().await.unwrap();
    let lines =
        text.lines().filter(|l| l.starts_with("rest_client_requests_total{") && !l.contains("leases"));
    let wrote = lines.filter(|l| !["\"get\"", "\"list\"", "\"watch\""].iter().any(|verb| l.contains(verb)));
    wrote.filter_map(|l| l.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn many_servers_fit_into_little_memory() {
    let api = ApiServer::shared().await;
    let client = api.client();
    let namespace = api.namespace("scale").await;
    references(&client, &namespace).await;
    let redis = Redis::start().await;
    let directory = tempfile::TempDir::new().unwrap();
    let config = directory.path().join("operator.yaml");
    let settings = json!({ "redis": { "url": redis.url(), "users": "Managed" },
        "hosts": { "allow": ["*.{namespace}.example.com"] }, "watch": { "namespaces": [namespace] } });
    std::fs::write(&config, settings.to_string()).unwrap();
    let objects: Api<McpServer> = Api::namespaced(client.clone(), &namespace);
    let count = servers();
    stream::iter(0..count)
        .for_each_concurrent(8, |n| {
            let (objects, namespace) = (objects.clone(), namespace.clone());
            async move {
                let mut object = server(&format!("server-{n}"));
                object["spec"]["url"] = json!(format!("https://server-{n}.{namespace}.example.com/mcp"));
                // As `kubectl apply` leaves them.
                object["metadata"]["annotations"] =
                    json!({ "kubectl.kubernetes.io/last-applied-configuration": server("x").to_string() });
                let params = PatchParams::apply("user");
                objects.patch(&format!("server-{n}"), &params, &Patch::Apply(&object)).await.unwrap();
            }
        })
        .await;

    let port = free_port();
    let mut command = Command::new(gatehouse_path());
    command.args(["run", "--identity", "scale", "--namespace", &namespace, "--config"]).arg(&config);
    command.args(["--admin-listen", &format!("127.0.0.1:{port}")]).env("KUBECONFIG", api.kubeconfig());
    command.env("RUST_LOG", "warn").stdin(Stdio::null());
    let started = Instant::now();
    let process = Process::start(command);
    let pid = process.id().unwrap();
    // In steps: on a slow machine it must get on, not be done.
    for step in 1..=10 {
        eventually(&format!("{step} tenths of the servers to have their pods asked for"), async || {
            let list = objects.list(&ListParams::default()).await.ok()?;
            let applied = |s: &&McpServer| s.status.as_ref().is_some_and(|s| s.config_hash.is_some());
            (list.iter().filter(applied).count() >= count * step / 10).then_some(())
        })
        .await;
    }
    let took = started.elapsed();
    let mut last = (0, Instant::now());
    eventually("the operator to be quiet", async || {
        let now = writes(port).await;
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed().as_secs() >= 2).then_some(())
    })
    .await;
    let memory = memory(pid);
    // Not the program's own text: a debug build's is larger than all of its data, and it is shared and reclaimable.
    let settled = memory["RssAnon"] / 1024;
    let (file, peak) = (memory["RssFile"] / 1024, memory["VmHWM"] / 1024);
    println!(
        "{count} servers: {took:?} to apply; {settled} MiB of data, {file} MiB of program, {peak} MiB at the peak"
    );
    assert!(settled <= LIMIT, "{settled} MiB for {count} servers");
}
