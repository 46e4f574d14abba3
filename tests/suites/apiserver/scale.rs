//! Many servers: what the program takes of memory, that it falls quiet, and that it has nothing to write when it is
//! started again.

use std::{collections::BTreeMap, path::Path, time::Instant};

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

/// What data the operator may hold without servers, and for each, in KiB: with a thousand 44 MB, which leaves 20 of the 64
/// that are promised to the program itself, of which a release build has 19 in memory.
const BASE: u64 = 22_000;
const EACH: u64 = 21;

/// `GATEHOUSE_SERVERS=1000` for the figure that the project promises; fewer by default, for a busy machine.
fn servers() -> usize {
    std::env::var("GATEHOUSE_SERVERS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

/// The program `gatehouse run`.
struct Program {
    process: Process,
    port: u16,
    /// The most data that it was seen with, in KiB.
    most: u64,
}

impl Program {
    fn start(api: &ApiServer, namespace: &str, config: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new(gatehouse_path());
        command.args(["run", "--identity", "scale", "--namespace", namespace, "--config"]).arg(config);
        command.args(["--admin-listen", &format!("127.0.0.1:{port}")]).env("KUBECONFIG", api.kubeconfig());
        // One heap, as in the image: glibc's allocator keeps several, more on a machine of more cores.
        command.env("RUST_LOG", "warn").env("MALLOC_ARENA_MAX", "1");
        Self { process: Process::start(command), port, most: 0 }
    }

    /// Numbers of `/proc/PID/status`, in KiB.
    fn memory(&mut self) -> BTreeMap<String, u64> {
        let id = self.process.id().expect("it runs").to_string();
        let status = std::fs::read_to_string(Path::new("/proc").join(id).join("status")).unwrap();
        let lines = status.lines().filter_map(|line| line.split_once(':'));
        let numbers: BTreeMap<String, u64> = lines
            .filter_map(|(key, value)| Some((key.to_owned(), value.trim().split(' ').next()?.parse().ok()?)))
            .collect();
        self.most = self.most.max(numbers["RssAnon"]);
        numbers
    }

    /// The sum of a metric's values, of which `counts` says which count.
    async fn sum(&mut self, metric: &str, counts: impl Fn(&str) -> bool) -> u64 {
        self.memory();
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let Ok(answer) = e2e::net::http().get(url).send().await else { return 0 };
        let text = answer.text().await.unwrap();
        let lines = text.lines().filter(|line| line.starts_with(&format!("{metric}{{")) && counts(line));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Waits until so many servers were looked at, no pass runs and nothing was written for two seconds; what was written.
    async fn quiet(&mut self, servers: usize) -> u64 {
        // In steps: on a slow machine it must get on, not be done.
        for step in 1..=10 {
            eventually(&format!("{step} tenths of the servers to be looked at"), async || {
                let passes = |line: &str| line.contains("\"mcpserver\"");
                let passes = self.sum("controller_runtime_reconcile_total", passes).await;
                (usize::try_from(passes).unwrap() >= servers * step / 10).then_some(())
            })
            .await;
        }
        let reads = ["\"get\"", "\"list\"", "\"watch\""];
        let writes = |line: &str| !line.contains("leases") && !reads.iter().any(|verb| line.contains(verb));
        let mut last = (0, Instant::now());
        eventually("the operator to be quiet", async || {
            let now = self.sum("rest_client_requests_total", writes).await;
            if now != last.0 {
                last = (now, Instant::now());
            }
            let idle = self.sum("controller_runtime_active_workers", |_| true).await == 0;
            (idle && last.1.elapsed().as_secs() >= 2).then_some(now)
        })
        .await
    }
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

    let started = Instant::now();
    let mut program = Program::start(api, &namespace, &config);
    let wrote = program.quiet(count).await;
    let took = started.elapsed();
    let all = objects.list(&ListParams::default()).await.unwrap();
    let applied = all.iter().filter(|s| s.status.as_ref().is_some_and(|s| s.config_hash.is_some())).count();
    assert_eq!(applied, count, "each has its pods asked for");
    let memory = program.memory();
    // Not the program's own text, which in a debug build is larger than all of its data.
    let (most, file, peak) = (program.most, memory["RssFile"], memory["VmHWM"]);
    println!("{count} servers: quiet after {took:?} and {wrote} writes");
    println!("at most {most} KiB of data, {file} KiB of program, {peak} KiB of both");
    assert!(most <= BASE + EACH * count as u64, "{most} KiB for {count} servers");

    program.process.terminate().await;
    program.process.wait().await;
    let mut again = Program::start(api, &namespace, &config);
    let started = Instant::now();
    assert_eq!(again.quiet(count).await, 0, "what is written already");
    println!("started again: quiet after {:?}; at most {} KiB of data", started.elapsed(), again.most);
    assert!(again.most <= BASE + EACH * count as u64, "{} KiB for {count} servers", again.most);
}
