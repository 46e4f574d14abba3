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

#[test]
fn nothing_here_can_call_out() {
    e2e::net::assert_no_way_out();
}
