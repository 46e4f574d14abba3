//! What a gateway must stand: the numbered attacks, one test each, black box over HTTP.
//!
//! Tenants with two replicas each share one real Redis: A (users of a GitHub), B (users of its own), C (as B, at an
//! https issuer), D (as C, with documents of clients), E (as A, at an https issuer) and F (as B, at an issuer with a path).
//! Every test asks from an
//! address of its own, with users of its own, while somebody else's sign-ins are under way, which must come to their end
//! after it. It ends by looking at everything that was answered to it ([`e2e::watch`]), at what the replicas wrote and
//! count, and at all that Redis holds: no server error, no panic, no redirect or link to an address that is not its
//! client's, issuer and state in all that a client is told, errors in the shape of OAuth or JSON-RPC, `no-store`, and none
//! of its secrets in clear. After the last test everybody's answers are looked at, and everybody's secrets looked for,
//! percent-encoded and in base64, too. Tests that break what others need (Redis, a replica) have a tenant to themselves.
//! `/oauth/revoke` and `/account` have no numbers.
//!
//! The numbers have gaps. These are not here, because:
//!
//! | # | why |
//! |---|---|
//! | 57 | needs a real browser: the suite `chromium` |
//! | 77 | no code is ever issued without a challenge: 29 and 30 |
//! | 78 | two replicas with clocks five minutes apart: in process, with clocks that a test sets; expiry is here |
//! | 106 | one server a URL: there is no server id to guess, another path is 404 for everybody (100) |
//! | 107 | with sessions, and in the modern era without: beside the code (`gateway/tests/mcp`); the theft is here |
//! | 117 | a name that changes its answer takes a resolver of the test's own: beside the code (`gateway/tests/oauth/documents.rs`, `egress`) |
//! | 123, 125, 127, 129 | need a cluster or another topology of Redis |
//! | 130 | every parser by properties: beside the code |
//!
//! 104 wants 400 for a bare LF. In the lines of a header it is taken for the line's end, as RFC 9112 section 2.2 lets a
//! recipient do, and as hyper does before any code of ours runs; in chunks it is refused. What it could smuggle is a message
//! that a proxy in front, or the backend, sees inside another one. The backend gets every message framed anew, and the row
//! shows that none that stood inside another reaches it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod account;
mod assertions;
mod authorization;
mod bystanders;
mod callback;
mod consent;
mod crowd;
mod discovery;
mod documents;
mod ends;
mod https;
mod line_feeds;
mod listed;
mod load;
mod outage;
mod proxy;
mod refresh;
mod registration;
mod resource;
mod revoke;
mod rows;
mod scopes;
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
    runtime.block_on(async move {
        if !arguments.list {
            world.finish().await;
        }
    });
    outcome.exit_code()
}
