//! The authorization server over HTTP: the real router on a memory store, with chosen time and randomness.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod account;
mod assertions;
mod audit;
mod authorization;
mod callback;
mod cancel;
#[path = "../store_contract/chaos.rs"]
#[expect(dead_code, reason = "the store's contract needs more of it")]
mod chaos;
mod clocks;
mod consent;
mod denied;
mod discovery;
mod documents;
mod encodings;
mod faults;
mod fetches;
mod floods;
mod id_tokens;
mod issuer_path;
mod methods;
mod parsers;
#[path = "../../../tests/src/redis_program.rs"]
#[expect(unreachable_pub, reason = "the end-to-end suites use it, too")]
mod redis_program;
#[path = "../store_contract/server.rs"]
#[expect(dead_code, reason = "the store's contract needs more of it")]
mod redis_server;
mod registration;
mod revocation;
mod scopes;
mod signin;
mod static_clients;
mod strangers;
mod support;
#[path = "../../fuzz/targets/texts.rs"]
mod texts;
mod tokens;
mod trips;
mod uploads;
#[path = "../../fuzz/targets/upstream.rs"]
mod upstream;
