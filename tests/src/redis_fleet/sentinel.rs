//! A master, its replicas and their Sentinels.

use std::time::Duration;

use redis::{RedisResult, Value};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Guard, Kind, RedisFleet, node::Node, server, until, words};

/// The name by which Sentinels know the master.
pub(super) const MASTER: &str = "mymaster";
/// How long a failover may take.
const FAILOVER: Duration = Duration::from_secs(3);

impl RedisFleet {
    /// A master, two replicas and three Sentinels.
    pub async fn sentinel(port: impl FnMut() -> u16) -> Self {
        Self::with_sentinels(port, None).await
    }

    /// The same, all of them guarded by a password and by certificates that name `name`.
    pub async fn sentinel_tls(port: impl FnMut() -> u16, name: &str) -> Self {
        Self::with_sentinels(port, Some(name)).await
    }

    async fn with_sentinels(mut port: impl FnMut() -> u16, guard: Option<&str>) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let guard = guard.map(|name| Guard::new(name, dir.path()));
        let access = guard.as_ref().map(Guard::access);
        let mut nodes: Vec<Node> = Vec::new();
        for _ in 0..3 {
            let port = port();
            let mut arguments = server(port, dir.path(), guard.as_ref());
            if let Some(master) = nodes.first() {
                arguments.extend(words(&format!("--replicaof 127.0.0.1 {}", master.port)));
            }
            nodes.push(Node::start(port, arguments, access.clone()));
        }
        until("two replicas", async || nodes[0].leads(2).await).await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let port = port();
            let file = dir.path().join(format!("sentinel-{port}.conf"));
            let monitor = format!(
                "bind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {MASTER} 800\nsentinel failover-timeout {MASTER} {}\n\
                 sentinel parallel-syncs {MASTER} 2\n",
                dir.path().display(),
                nodes[0].port,
                FAILOVER.as_millis()
            );
            let rest = guard.as_ref().map_or_else(|| format!("port {port}\n"), |g| g.sentinel(port, MASTER));
            std::fs::write(&file, monitor + &rest).expect("the directory can be written");
            let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
            sentinels.push(Node::start(port, arguments, access.clone()));
        }
        let fleet = Self { nodes, sentinels, kind: Kind::Sentinels, guard, dir };
        fleet.settled().await;
        fleet
    }

    pub(super) async fn settled_by_sentinels(&self) {
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

    pub(super) async fn named(&self, sentinel: &Node) -> Option<usize> {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let (_, port): (String, u16) = sentinel.run(&words).await.ok()?;
        self.nodes.iter().position(|node| node.port == port)
    }

    pub(super) async fn promote(&self, old: usize, crash: bool) -> usize {
        let sentinel = &self.sentinels[0];
        let mut begun: Option<Instant> = None;
        until("another master", async || {
            // Sentinels give up a failover by command that a busy machine holds up, and do not begin it again.
            if !crash && begun.is_none_or(|at| at.elapsed() > 2 * FAILOVER) {
                // Refused while the one before goes on; it is asked again.
                begun =
                    sentinel.run::<()>(&["SENTINEL", "FAILOVER", MASTER]).await.ok().map(|()| Instant::now());
            }
            match self.named(sentinel).await {
                Some(next) => next != old && self.nodes[next].is("master").await,
                None => false,
            }
        })
        .await;
        self.named(sentinel).await.expect("it was just named")
    }
}
