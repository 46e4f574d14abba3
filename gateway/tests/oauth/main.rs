//! The authorization server over HTTP: the real router on a memory store, with chosen time and randomness.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod account;
mod audit;
mod authorization;
mod callback;
mod consent;
mod discovery;
mod faults;
mod registration;
mod revocation;
mod signin;
mod static_clients;
mod support;
mod tokens;
