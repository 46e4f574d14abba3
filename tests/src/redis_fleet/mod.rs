//! Real Redis processes that replace each other: a master with replicas and Sentinels, or a Cluster, plain or guarded by
//! TLS, client certificates and a password; and a single one that is so guarded.
//!
//! Needs of its crate nothing but `redis_program`, so that the gateway's own tests can use the file, too.

mod cluster;
mod guard;
mod node;
mod sentinel;
pub mod tls;

use std::{path::Path, time::Duration};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub use self::guard::Guard;
use self::{node::Node, sentinel::MASTER};

/// How long the processes may take to agree.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processes. They end with this value.
pub struct RedisFleet {
    nodes: Vec<Node>,
    sentinels: Vec<Node>,
    kind: Kind,
    guard: Option<Guard>,
    dir: TempDir,
}

/// How the processes are run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Standalone,
    Sentinels,
    Cluster,
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

/// The arguments of a server. It keeps what it holds in a directory of its own: a node that comes back empty may be promoted
/// before it has followed anybody, and then forgets what it had acknowledged.
fn server(port: u16, dir: &Path, guard: Option<&Guard>) -> Vec<String> {
    let own = dir.join(format!("node-{port}"));
    std::fs::create_dir_all(&own).expect("the directory can be written");
    // A process that is killed, not the machine, loses nothing that it wrote to the file without waiting for the disk.
    let mut all = words("--bind 127.0.0.1 --appendonly yes --appendfsync no --repl-diskless-sync-delay 0");
    all.extend(words(&format!("--dir {}", own.display())));
    all.extend(["--save".to_owned(), String::new()]);
    match guard {
        None => all.extend(words(&format!("--port {port}"))),
        Some(guard) => all.extend(guard.arguments(port)),
    }
    all
}

impl RedisFleet {
    /// One server, guarded by a password and by a certificate that names `name`.
    pub async fn standalone_tls(port: u16, name: &str) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let guard = Guard::new(name, dir.path());
        let arguments = server(port, dir.path(), Some(&guard));
        let nodes = vec![Node::start(port, arguments, Some(guard.access()))];
        let fleet = Self { nodes, sentinels: Vec::new(), kind: Kind::Standalone, guard: Some(guard), dir };
        fleet.settled().await;
        fleet
    }

    /// The URL of the whole, as a configuration names it.
    pub fn url(&self) -> String {
        let of = |nodes: &[Node]| {
            let all: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
            all.join(",")
        };
        let scheme = if self.guard.is_some() { "rediss" } else { "redis" };
        match self.kind {
            Kind::Standalone => format!("{scheme}://{}", of(&self.nodes)),
            Kind::Sentinels => format!("{scheme}+sentinel://{}/{MASTER}", of(&self.sentinels)),
            Kind::Cluster => format!("{scheme}+cluster://{}", of(&self.nodes)),
        }
    }

    /// A URL that names one process alone, from which the others are found.
    pub fn seed_url(&self) -> String {
        let url = self.url();
        let (seed, rest) = url.split_once(',').unwrap_or((&url, ""));
        format!("{seed}{}", rest.find('/').map_or("", |at| &rest[at..]))
    }

    /// How it is guarded.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// A connection to each node, replicas too.
    pub async fn connections(&self) -> Vec<MultiplexedConnection> {
        connections(&self.nodes).await
    }

    /// A connection to each Sentinel that asks for a login.
    pub async fn guarded_sentinels(&self) -> Vec<MultiplexedConnection> {
        if self.guard.is_some() { connections(&self.sentinels).await } else { Vec::new() }
    }

    /// A connection to the master that holds `key`.
    pub async fn master(&self, key: &str) -> MultiplexedConnection {
        connected(&self.nodes[self.leader(key).await]).await
    }

    /// A key whose name holds `part`.
    pub async fn key_with(&self, part: &str) -> String {
        let pattern = format!("*{part}*");
        for node in &self.nodes {
            let keys: Vec<String> = node.run(&["KEYS", &pattern]).await.expect("the node runs");
            if let Some(key) = keys.into_iter().next() {
                return key;
            }
        }
        panic!("no key holds {part}");
    }

    /// Waits until every node does its part.
    pub async fn settled(&self) {
        match self.kind {
            Kind::Standalone => until("the server", async || self.nodes[0].leads(0).await).await,
            Kind::Sentinels => self.settled_by_sentinels().await,
            Kind::Cluster => self.settled_in_cluster().await,
        }
    }

    /// The node that holds `key` for now.
    async fn leader(&self, key: &str) -> usize {
        match self.kind {
            Kind::Standalone => 0,
            Kind::Sentinels => self.named(&self.sentinels[0]).await.expect("a Sentinel knows the master"),
            Kind::Cluster => self.holder(key).await,
        }
    }

    /// Makes another node the master of `key`, by command, or by killing the present one, which then comes back with
    /// what it held, as a replica. Returns when everybody does their part again.
    pub async fn fail_over(&mut self, key: &str, crash: bool) {
        let old = self.leader(key).await;
        if crash {
            self.nodes[old].process.kill().await.expect("it is our child");
        }
        let next = match self.kind {
            Kind::Standalone => old,
            Kind::Sentinels => self.promote(old, crash).await,
            Kind::Cluster => self.promote_in_cluster(old, crash).await,
        };
        if crash {
            let mut arguments = self.nodes[old].arguments.clone();
            if self.kind == Kind::Sentinels {
                if let Some(at) = arguments.iter().position(|word| word == "--replicaof") {
                    arguments.drain(at..at + 3);
                }
                arguments.extend(words(&format!("--replicaof 127.0.0.1 {}", self.nodes[next].port)));
            }
            self.nodes[old].restart(arguments).await;
        }
        self.settled().await;
    }

    /// Gives every process a certificate of another CA, and no trust in the CA of before. Sentinels cannot read a
    /// certificate anew, and are started again.
    pub async fn rotate_certificates(&mut self) {
        let guard = self.guard.as_mut().expect("it is guarded");
        let settings = guard.rotate(self.dir.path());
        let access = guard.access();
        let mut set = vec!["CONFIG", "SET"];
        set.extend(settings.iter().flat_map(|(name, value)| [*name, value.as_str()]));
        for node in &mut self.nodes {
            node.run::<()>(&set).await.expect("the node reads its new certificate");
            node.access = Some(access.clone());
        }
        for sentinel in &mut self.sentinels {
            sentinel.access = Some(access.clone());
            sentinel.restart(sentinel.arguments.clone()).await;
        }
        self.settled().await;
    }
}

async fn connections(nodes: &[Node]) -> Vec<MultiplexedConnection> {
    let mut all = Vec::new();
    for node in nodes {
        all.push(connected(node).await);
    }
    all
}

/// A Sentinel that tells a node whom to follow ends the node's connections, those that are just made, too.
async fn connected(node: &Node) -> MultiplexedConnection {
    let mut found = None;
    until("a node to take a connection", async || {
        found = node.connection().await.ok();
        found.is_some()
    })
    .await;
    found.expect("it was just made")
}
