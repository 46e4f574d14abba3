//! Failovers of a real Sentinel set-up and a real Cluster, some by command, some by `kill -9`, and a slot that moves from
//! master to master, while clients on two replicas claim callbacks, redeem codes, refresh and revoke. `FAILOVERS=200` makes
//! more of them by hand.
//!
//! Every replica of Redis acknowledges a claim here (`minReplicas` is their number), so whoever is promoted has it: then
//! nothing that was answered may be forgotten. With fewer, Redis promises less (README, "Redis").

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
mod http;
#[path = "../../../gateway/tests/store_contract/lab.rs"]
#[expect(dead_code, reason = "the contract suite uses all of it")]
mod lab;
#[path = "../../../gateway/tests/store_contract/server.rs"]
#[expect(dead_code, reason = "the contract suite uses all of it")]
mod server;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use e2e::{
    net::{eventually, free_port},
    redis_fleet::{self, RedisFleet},
    redis_program,
};
use gatehouse_gateway::{
    keys::Keys,
    store::{Redemption, Store, Unfinished},
};
use tokio::task::JoinHandle;

use self::{
    client::Clients,
    lab::{PASSWORD, fleet_config, give_rights, prefix, proof, redis_store, some_keys},
};

/// Clients that work at the same time.
const CLIENTS: usize = 6;
/// How often the slot moves.
const MOVES: usize = 4;

fn failovers() -> usize {
    std::env::var("FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// Clients at work on two replicas.
struct Work {
    keys: Keys,
    stores: [Arc<dyn Store>; 2],
    clients: Arc<Clients>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    slowest: Duration,
}

impl Work {
    async fn begin(fleet: &RedisFleet, min_replicas: u32) -> Self {
        let keys = some_keys();
        give_rights(fleet, &keys, PASSWORD).await;
        let (config, refs) = fleet_config(fleet, min_replicas, PASSWORD);
        let store = || -> Arc<dyn Store> { Arc::new(redis_store(&config, &keys, refs.clone())) };
        let stores = [store(), store()];
        let clients = Arc::new(Clients::new(stores.clone(), keys.clone()));
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..CLIENTS)
            .map(|number| tokio::spawn(clients.clone().work(u8::try_from(number).unwrap(), stop.clone())))
            .collect();
        Self { keys, stores, clients, stop, tasks, slowest: Duration::ZERO }
    }

    /// Waits until clients get on by themselves, and looks at what they did.
    async fn goes_on(&mut self) {
        let refreshed = || self.clients.tally.refreshed.load(SeqCst);
        let (begun, before) = (Instant::now(), refreshed());
        eventually("clients to get on by themselves", async || {
            (refreshed() >= before + CLIENTS).then_some(())
        })
        .await;
        self.slowest = self.slowest.max(begun.elapsed());
        self.clients.check().await;
    }

    async fn end(self, what: &str) {
        self.stop.store(true, SeqCst);
        for task in self.tasks {
            task.await.expect("a client found nothing wrong");
        }
        self.clients.check().await;
        println!(
            "{what}; {}; back at work at most {:?} after the nodes were",
            self.clients.tally, self.slowest
        );
        assert!(
            self.clients.tally.redeemed.load(SeqCst) > 0 && self.clients.tally.refreshed.load(SeqCst) > 0
        );
    }
}

async fn survive(name: &str, mut fleet: RedisFleet, min_replicas: u32) {
    let mut work = Work::begin(&fleet, min_replicas).await;
    let mut crashes = 0;
    for number in 0..failovers() {
        let crash = number % 4 == 3;
        crashes += usize::from(crash);
        fleet.fail_over(&prefix(&work.keys), crash).await;
        // The operator's work: again on a node that restarted.
        give_rights(&fleet, &work.keys, PASSWORD).await;
        work.goes_on().await;
    }
    work.end(&format!("{name}: {} failovers, {crashes} of them by kill -9", failovers())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_failovers_forget_nothing_that_was_acknowledged() {
    survive("Sentinel", RedisFleet::sentinel(free_port).await, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_failovers_forget_nothing_that_was_acknowledged() {
    survive("Cluster", RedisFleet::cluster(free_port).await, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_is_unavailable_and_forgets_nothing() {
    let fleet = RedisFleet::cluster(free_port).await;
    let mut work = Work::begin(&fleet, 1).await;
    for _ in 0..MOVES {
        let waits = work.clients.waiting_code().await;
        let pairs = [0, 1].map(|_| work.clients.new_pair(&waits));
        let proof = proof(&waits);
        let redeem = async || {
            let [one, two] = [0, 1].map(|i| work.stores[i].redeem_code(&proof, &pairs[i]));
            tokio::join!(one, two)
        };
        fleet
            .reshard(&prefix(&work.keys), async || {
                let (one, two) = redeem().await;
                for answer in [one, two] {
                    assert!(matches!(answer, Err(Unfinished { done: None, .. })), "{answer:?}");
                }
            })
            .await;
        let won = eventually("the code to be redeemed", async || {
            let (one, two) = redeem().await;
            let answers = [one.ok()?, two.ok()?];
            Some(answers.iter().filter(|answer| matches!(answer, Redemption::Redeemed { .. })).count())
        })
        .await;
        assert_eq!(won, 1, "one of both, and what was unavailable had not redeemed it");
        work.goes_on().await;
    }
    work.end(&format!("Cluster: the slot moved {MOVES} times")).await;
}
