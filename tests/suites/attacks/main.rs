//! What a gateway must stand: the numbered attacks, one test each, black box over HTTP.
//!
//! Two tenants (A: users of a GitHub, B: users of its own) with two replicas each share one real Redis. Every test asks
//! from an address of its own, with users of its own, and ends by looking at everything that was answered to it
//! ([`e2e::watch`]), at what the replicas wrote, and at all that Redis holds: no server error, no panic, no redirect to
//! an address that nobody registered, errors in OAuth's shape, `no-store`, and none of its secrets in clear. Tests that
//! break what others need (Redis, a replica) have a tenant to themselves.
//!
//! The numbers have gaps. These are not here, because:
//!
//! | # | why |
//! |---|---|
//! | 55 | `__Host-` and Secure need https: beside the code (`oauth::cookies`); what holds on loopback is here |
//! | 57 | needs a real browser: the suite `chromium` |
//! | 77 | no code is ever issued without a challenge: 29 and 30 |
//! | 78 | two replicas with clocks five minutes apart: in process, with clocks that a test sets |
//! | 97 | there is no introspection |
//! | 106 | one server a URL: there is no server id to guess, another path is 404 for everybody |
//! | 107 | with sessions, and in the modern era without: beside the code (`gateway/tests/mcp`); the theft is here |
//! | 123, 125, 127, 129 | need a cluster or another topology of Redis |
//! | 130 | every parser by properties: beside the code |

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod authorization;
mod callback;
mod consent;
mod discovery;
mod load;
mod outage;
mod proxy;
mod refresh;
mod registration;
mod resource;
mod rows;
mod tokens;
mod upstream;
mod world;

use std::{process::ExitCode, sync::Arc};

use libtest_mimic::Arguments;
use tokio::runtime::Runtime;

use crate::world::World;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = Runtime::new().expect("a runtime can be started");
    let world = Arc::new(runtime.block_on(World::start()));
    let outcome = libtest_mimic::run(&arguments, rows::all(runtime.handle(), &world));
    // The processes end with the world, which no trial holds any more.
    runtime.block_on(async { drop(world) });
    outcome.exit_code()
}
