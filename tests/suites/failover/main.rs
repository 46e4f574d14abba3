//! Failovers of a real Sentinel set-up and a real Cluster, some by command, some by `kill -9`, while clients on two
//! replicas redeem codes and refresh. `FAILOVERS=200` makes more of them by hand.
//!
//! Every replica of Redis acknowledges a claim here (`minReplicas` is their number), so whoever is promoted has it: then
//! nothing that was answered may be forgotten. With fewer, Redis promises less (README, "Redis").

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod client;
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
use gatehouse_gateway::store::Store;
use gatehouse_gateway_config::RedisConfig;

use self::{
    client::Clients,
    lab::{PASSWORD, config, password, redis_store, some_keys},
    server::Admin,
};

/// Clients that work at the same time.
const CLIENTS: usize = 6;

fn failovers() -> usize {
    std::env::var("FAILOVERS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

async fn survive(name: &str, mut fleet: RedisFleet, min_replicas: u32) {
    let keys = some_keys();
    let give_rights = async |fleet: &RedisFleet| {
        // The operator's work: on every node, and again on one that restarted.
        for connection in fleet.connections().await {
            Admin::of(connection).give_rights(&keys.instance(), PASSWORD).await;
        }
    };
    give_rights(&fleet).await;
    let config = RedisConfig { min_replicas, ..config(&fleet.url()) };
    let store = || -> Arc<dyn Store> { Arc::new(redis_store(&config, &keys, password(PASSWORD))) };
    let clients = Arc::new(Clients::new([store(), store()], keys.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(clients.clone().work(u8::try_from(number).unwrap(), stop.clone())))
        .collect();

    let prefix = format!("gatehouse:{{team-a/github.{}}}:", keys.instance());
    let (mut crashes, mut slowest) = (0, Duration::ZERO);
    for number in 0..failovers() {
        let crash = number % 4 == 3;
        crashes += usize::from(crash);
        fleet.fail_over(&prefix, crash).await;
        give_rights(&fleet).await;
        let (begun, before) = (Instant::now(), clients.tally.refreshed.load(SeqCst));
        eventually("clients to get on by themselves", async || {
            (clients.tally.refreshed.load(SeqCst) >= before + CLIENTS).then_some(())
        })
        .await;
        slowest = slowest.max(begun.elapsed());
        clients.check().await;
    }
    stop.store(true, SeqCst);
    for task in tasks {
        task.await.expect("a client found nothing wrong");
    }
    clients.check().await;
    println!(
        "{name}: {} failovers, {crashes} of them by kill -9; {}; back at work at most {slowest:?} after the nodes were",
        failovers(),
        clients.tally
    );
    assert!(clients.tally.redeemed.load(SeqCst) > 0 && clients.tally.refreshed.load(SeqCst) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinel_failovers_forget_nothing_that_was_acknowledged() {
    survive("Sentinel", RedisFleet::sentinel(free_port).await, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_failovers_forget_nothing_that_was_acknowledged() {
    survive("Cluster", RedisFleet::cluster(free_port).await, 1).await;
}
