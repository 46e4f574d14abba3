//! The MCP path through the real router: real HTTP on both sides, the memory store, a recording backend, and an
//! identity provider that can say no.

#![expect(clippy::unwrap_used, reason = "tests say what is wrong by failing")]

mod auth;
mod backend;
mod dead;
mod denied;
mod faults;
mod kit;
mod load;
mod logs;
mod provider;
mod proxy;
#[path = "../../../tests/src/redis_program.rs"]
#[expect(unreachable_pub, reason = "the end-to-end suites use it, too")]
mod redis_program;
#[path = "../store_contract/server.rs"]
#[expect(dead_code, reason = "the store's contract needs more of it")]
mod redis_server;
mod removed;
mod robots;
mod scopes;
mod sessions;
mod streams;
mod tls;
