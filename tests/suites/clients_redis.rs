//! Real clients against one gateway on a real Redis.

use e2e::{
    backend::{Backend, Callers},
    dev::{Gateway, Setup},
    manifests::{DEFAULT_LIFETIMES, LOCAL},
    redis::Redis,
};

async fn start() -> (Gateway, (Backend, Redis)) {
    let backend =
        Backend::start(Callers::tokens(&[("token-of-alice", "alice"), ("token-of-bob", "bob")])).await;
    let redis = Redis::start().await;
    let setup = Setup::manifest(LOCAL).with("backend", &backend.url()).with("lifetimes", DEFAULT_LIFETIMES);
    (setup.redis(&redis).start().await, (backend, redis))
}

e2e::every_client!(start);

/// What the operator says in a server's status is said at the terminal, to whom it concerns.
#[tokio::test]
async fn a_redis_that_evicts_is_warned_of_where_gatehouse_dev_was_started() {
    for (policy, warns) in [("allkeys-lru", true), ("noeviction", false)] {
        let redis = Redis::with(&["--maxmemory-policy", policy]).await;
        let gateway = Setup::demo().redis(&redis).start().await;
        let output = gateway.output();
        let warning = output.lines().find(|line| line.starts_with("warning: Redis evicts"));
        assert_eq!(warning.is_some(), warns, "{output}");
        let named = |line: &str| line.contains(policy) && line.contains("set maxmemory-policy noeviction");
        assert!(warning.is_none_or(named), "{output}");
    }
}

#[tokio::test]
async fn a_redis_that_saves_snapshots_alone_is_warned_of_there_too() {
    for (appends, warns) in [("no", true), ("yes", false)] {
        let redis = Redis::with(&["--appendonly", appends]).await;
        let _: () = redis::cmd("SAVE").query_async(&mut redis.connection().await).await.expect("SAVE works");
        let output = Setup::demo().redis(&redis).start().await.output();
        let warning = output.lines().find(|line| line.starts_with("warning: Redis saves snapshots alone"));
        assert_eq!(warning.is_some(), warns, "{output}");
        assert!(warning.is_none_or(|line| line.ends_with("set appendonly yes")), "{output}");
    }
}

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}
