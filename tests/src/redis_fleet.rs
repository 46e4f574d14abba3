//! Real Redis processes that replace each other: a master with replicas and Sentinels, or a Cluster.
//!
//! Needs nothing of its crate, so that the gateway's own tests can use the file, too.

use std::{path::Path, process::Stdio, time::Duration};

use redis::{FromRedisValue, RedisResult, Value, aio::MultiplexedConnection};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// How long the processes may take to agree.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name by which Sentinels know the master.
const MASTER: &str = "mymaster";
/// Masters of a Cluster; each has one replica.
const SHARDS: usize = 3;

/// The processes. They end with this value.
pub struct RedisFleet {
    nodes: Vec<Node>,
    sentinels: Vec<Node>,
    cluster: bool,
    _dir: TempDir,
}

struct Node {
    port: u16,
    arguments: Vec<String>,
    process: Child,
}

impl Node {
    fn start(port: u16, arguments: Vec<String>) -> Self {
        let process = launch(&arguments);
        Self { port, arguments, process }
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port))?
            .get_multiplexed_async_connection()
            .await
    }

    async fn run<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut cmd = redis::Cmd::new();
        cmd.arg(words);
        cmd.query_async(&mut self.connection().await?).await
    }

    async fn is(&self, role: &str) -> bool {
        let found: RedisResult<Vec<Value>> = self.run(&["ROLE"]).await;
        let first = found.ok().and_then(|fields| String::from_redis_value_ref(fields.first()?).ok());
        first.as_deref() == Some(role)
    }

    /// Whether it is a master with so many replicas that follow it.
    async fn leads(&self, replicas: usize) -> bool {
        let info: String = self.run(&["INFO", "replication"]).await.unwrap_or_default();
        info.contains("role:master") && info.matches("state=online").count() >= replicas
    }
}

fn launch(arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("redis-server can be started (tests/run installs it)")
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn server(port: u16, dir: &Path) -> Vec<String> {
    let mut all = words("--bind 127.0.0.1 --appendonly no --repl-diskless-sync-delay 0");
    all.extend(words(&format!("--port {port} --dir {}", dir.display())));
    all.extend(["--save".to_owned(), String::new()]);
    all
}

impl RedisFleet {
    /// A master, two replicas and three Sentinels.
    pub async fn sentinel(mut port: impl FnMut() -> u16) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let mut nodes: Vec<Node> = Vec::new();
        for _ in 0..3 {
            let port = port();
            let mut arguments = server(port, dir.path());
            if let Some(master) = nodes.first() {
                arguments.extend(words(&format!("--replicaof 127.0.0.1 {}", master.port)));
            }
            nodes.push(Node::start(port, arguments));
        }
        until("two replicas", async || nodes[0].leads(2).await).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let port = port();
            let file = dir.path().join(format!("sentinel-{port}.conf"));
            let config = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {MASTER} 800\nsentinel failover-timeout {MASTER} 3000\n\
                 sentinel parallel-syncs {MASTER} 2\n",
                dir.path().display(),
                nodes[0].port
            );
            std::fs::write(&file, config).expect("the directory can be written");
            sentinels.push(Node::start(port, vec![file.display().to_string(), "--sentinel".to_owned()]));
        }
        let fleet = Self { nodes, sentinels, cluster: false, _dir: dir };
        fleet.settled().await;
        fleet
    }

    /// Three masters with a replica each.
    pub async fn cluster(mut port: impl FnMut() -> u16) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..2 * SHARDS {
            let (port, bus) = (port(), port());
            let mut arguments = server(port, dir.path());
            arguments.extend(words(&format!(
                "--cluster-enabled yes --cluster-port {bus} --cluster-config-file nodes-{port}.conf \
                 --cluster-node-timeout 1500 --cluster-replica-validity-factor 0"
            )));
            nodes.push(Node::start(port, arguments));
            buses.push(bus);
        }
        for node in &nodes {
            until("a node", async || node.run::<String>(&["PING"]).await.is_ok()).await;
        }
        for (index, node) in nodes.iter().enumerate() {
            let done = async |words: &[&str]| node.run::<()>(words).await.expect("the node takes it");
            done(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).await;
            if index < SHARDS {
                let (first, last) = (index * 16384 / SHARDS, (index + 1) * 16384 / SHARDS - 1);
                done(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
            }
            if index > 0 {
                let (port, bus) = (nodes[0].port.to_string(), buses[0].to_string());
                done(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
            }
        }
        for index in SHARDS..2 * SHARDS {
            let master: String = nodes[index - SHARDS].run(&["CLUSTER", "MYID"]).await.expect("it has an id");
            until("a replica", async || {
                nodes[index].run::<()>(&["CLUSTER", "REPLICATE", &master]).await.is_ok()
            })
            .await;
        }
        let fleet = Self { nodes, sentinels: Vec::new(), cluster: true, _dir: dir };
        fleet.settled().await;
        fleet
    }

    /// The URL of the whole, as a configuration names it.
    pub fn url(&self) -> String {
        let of = |nodes: &[Node]| {
            let all: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
            all.join(",")
        };
        if self.cluster {
            format!("redis+cluster://{}", of(&self.nodes))
        } else {
            format!("redis+sentinel://{}/{MASTER}", of(&self.sentinels))
        }
    }

    /// A connection to each node, replicas too.
    pub async fn connections(&self) -> Vec<MultiplexedConnection> {
        let mut all = Vec::new();
        for node in &self.nodes {
            all.push(node.connection().await.expect("the node runs"));
        }
        all
    }

    /// A connection to the master that holds `key`.
    pub async fn master(&self, key: &str) -> MultiplexedConnection {
        self.nodes[self.leader(key).await].connection().await.expect("the master runs")
    }

    /// Waits until every node does its part.
    pub async fn settled(&self) {
        if self.cluster {
            for node in &self.nodes {
                until("the Cluster", async || {
                    let info: String = node.run(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                    info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
                })
                .await;
            }
            until("a replica for each shard", async || {
                let mut leaders = 0;
                for node in &self.nodes {
                    leaders += usize::from(node.leads(1).await);
                }
                leaders == SHARDS
            })
            .await;
            return;
        }
        for sentinel in &self.sentinels {
            until("the Sentinels to agree", async || {
                let of = async |what: &str| -> usize {
                    let found: RedisResult<Vec<Value>> = sentinel.run(&["SENTINEL", what, MASTER]).await;
                    found.map_or(0, |all| all.len())
                };
                of("REPLICAS").await == 2 && of("SENTINELS").await == 2 && self.leads_for(sentinel).await
            })
            .await;
        }
    }

    /// Whether the master that a Sentinel names has both replicas.
    async fn leads_for(&self, sentinel: &Node) -> bool {
        match self.named(sentinel).await {
            Some(index) => self.nodes[index].leads(2).await,
            None => false,
        }
    }

    async fn named(&self, sentinel: &Node) -> Option<usize> {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let (_, port): (String, u16) = sentinel.run(&words).await.ok()?;
        self.nodes.iter().position(|node| node.port == port)
    }

    /// The node that holds `key` for now.
    async fn leader(&self, key: &str) -> usize {
        if !self.cluster {
            return self.named(&self.sentinels[0]).await.expect("a Sentinel knows the master");
        }
        for (index, node) in self.nodes.iter().enumerate() {
            if node.is("master").await && node.run::<Value>(&["EXISTS", key]).await.is_ok() {
                return index;
            }
        }
        panic!("nobody holds the slot of {key}");
    }

    /// Makes another node the master of `key`, by command, or by killing the present one, which then comes back empty
    /// as a replica. Returns when everybody does their part again.
    pub async fn fail_over(&mut self, key: &str, crash: bool) {
        let old = self.leader(key).await;
        if crash {
            self.nodes[old].process.kill().await.expect("it is our child");
        }
        let next = if self.cluster {
            self.promote_in_cluster(old, crash).await
        } else {
            self.promote(old, crash).await
        };
        if crash {
            let mut arguments = self.nodes[old].arguments.clone();
            if !self.cluster {
                if let Some(at) = arguments.iter().position(|word| word == "--replicaof") {
                    arguments.drain(at..at + 3);
                }
                arguments.extend(words(&format!("--replicaof 127.0.0.1 {}", self.nodes[next].port)));
            }
            self.nodes[old] = Node::start(self.nodes[old].port, arguments);
        }
        self.settled().await;
    }

    async fn promote(&self, old: usize, crash: bool) -> usize {
        let sentinel = &self.sentinels[0];
        if !crash {
            until("a failover to begin", async || {
                sentinel.run::<()>(&["SENTINEL", "FAILOVER", MASTER]).await.is_ok()
            })
            .await;
        }
        until("another master", async || match self.named(sentinel).await {
            Some(next) => next != old && self.nodes[next].is("master").await,
            None => false,
        })
        .await;
        self.named(sentinel).await.expect("it was just named")
    }

    async fn promote_in_cluster(&self, old: usize, crash: bool) -> usize {
        let mut next = None;
        // The replica knows its master by port.
        for (index, node) in self.nodes.iter().enumerate().filter(|(index, _)| *index != old) {
            let info: String = node.run(&["INFO", "replication"]).await.expect("it runs");
            if info.contains(&format!("master_port:{}\r", self.nodes[old].port)) {
                next = Some(index);
            }
        }
        let next = next.expect("every shard has a replica");
        let mut begun: Option<Instant> = None;
        until("the replica to take over", async || {
            // A node gives up a failover by command after five seconds.
            if !crash && begun.is_none_or(|at| at.elapsed() > Duration::from_secs(6)) {
                begun = Some(Instant::now());
                // Refused while the replica does not see its master; it is asked again.
                let _ = self.nodes[next].run::<()>(&["CLUSTER", "FAILOVER"]).await;
            }
            self.nodes[next].is("master").await
        })
        .await;
        next
    }
}
