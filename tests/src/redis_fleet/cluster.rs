//! A Cluster.

use std::time::Duration;

use redis::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Guard, Kind, RedisFleet, node::Node, server, until, words};

/// Masters of a Cluster; each has one replica.
const SHARDS: usize = 3;
/// How many keys are moved at once.
const BATCH: &str = "10";

impl RedisFleet {
    /// Three masters with a replica each.
    pub async fn cluster(port: impl FnMut() -> u16) -> Self {
        Self::as_cluster(port, None).await
    }

    /// The same, all of them guarded by a password and by certificates that name `name`.
    pub async fn cluster_tls(port: impl FnMut() -> u16, name: &str) -> Self {
        Self::as_cluster(port, Some(name)).await
    }

    async fn as_cluster(mut port: impl FnMut() -> u16, guard: Option<&str>) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let guard = guard.map(|name| Guard::new(name, dir.path()));
        let access = guard.as_ref().map(Guard::access);
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..2 * SHARDS {
            let (port, bus) = (port(), port());
            let mut arguments = server(port, dir.path(), guard.as_ref());
            arguments.extend(words(&format!(
                "--cluster-enabled yes --cluster-port {bus} --cluster-config-file nodes-{port}.conf \
                 --cluster-node-timeout 1500 --cluster-replica-validity-factor 0"
            )));
            nodes.push(Node::start(port, arguments, access.clone()));
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
        let fleet = Self { nodes, sentinels: Vec::new(), kind: Kind::Cluster, guard, dir };
        fleet.settled().await;
        fleet
    }

    pub(super) async fn settled_in_cluster(&self) {
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
    }

    /// The master that holds `key` for now.
    pub(super) async fn holder(&self, key: &str) -> usize {
        for (index, node) in self.nodes.iter().enumerate() {
            if node.is("master").await && node.run::<Value>(&["EXISTS", key]).await.is_ok() {
                return index;
            }
        }
        panic!("nobody holds the slot of {key}");
    }

    pub(super) async fn promote_in_cluster(&self, old: usize, crash: bool) -> usize {
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

    /// Moves the slot of `key` to another master, key by key, as `redis-cli --cluster reshard` does. `meanwhile` runs when
    /// some keys are here and some there. Returns when everybody does their part again.
    pub async fn reshard(&self, key: &str, meanwhile: impl AsyncFnOnce()) {
        let from = self.holder(key).await;
        let mut masters = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if node.is("master").await {
                masters.push(index);
            }
        }
        let to = *masters.iter().find(|&&index| index != from).expect("there are several");
        let id = async |index: usize| -> String {
            self.nodes[index].run(&["CLUSTER", "MYID"]).await.expect("it has an id")
        };
        let (source, target) = (id(from).await, id(to).await);
        let slot: u16 = self.nodes[from].run(&["CLUSTER", "KEYSLOT", key]).await.expect("a key has a slot");
        let slot = slot.to_string();
        let set = async |index: usize, what: &str, id: &str| {
            let words = ["CLUSTER", "SETSLOT", &slot, what, id];
            self.nodes[index].run::<()>(&words).await.expect("the node takes it");
        };
        set(to, "IMPORTING", &source).await;
        set(from, "MIGRATING", &target).await;
        assert!(self.migrate(from, to, &slot).await, "there is something to move");
        meanwhile().await;
        while self.migrate(from, to, &slot).await {}
        // First whoever has the keys now, then whoever sends others away.
        set(to, "NODE", &target).await;
        set(from, "NODE", &target).await;
        for &index in masters.iter().filter(|&&index| index != from && index != to) {
            set(index, "NODE", &target).await;
        }
        self.settled().await;
    }

    /// Moves some keys of a slot; whether there were any.
    async fn migrate(&self, from: usize, to: usize, slot: &str) -> bool {
        let node = &self.nodes[from];
        let keys: Vec<String> =
            node.run(&["CLUSTER", "GETKEYSINSLOT", slot, BATCH]).await.expect("a master knows its keys");
        let port = self.nodes[to].port.to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(keys.iter().map(String::as_str));
        if !keys.is_empty() {
            // NOKEY where all of them have ended meanwhile.
            node.run::<String>(&words).await.expect("the keys are moved");
        }
        !keys.is_empty()
    }
}
