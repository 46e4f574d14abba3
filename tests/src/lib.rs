//! Fixtures of Gatehouse's end-to-end suites: real parts, and stand-ins for what is out on the internet.
//!
//! Everything listens on loopback, on free ports, and ends with the value that started it.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a fixture that cannot start fails its test")]

pub mod apiserver;
pub mod backend;
pub mod balancer;
pub mod browser;
pub mod clients;
pub mod cluster;
pub mod dev;
pub mod github;
mod html;
pub mod idp;
pub mod journeys;
pub mod landing;
pub mod life;
pub mod manifests;
mod mounts;
pub mod net;
pub mod oauth;
pub mod opened;
pub mod operator;
mod ports;
pub mod process;
pub mod profiles;
pub mod raw;
mod record;
pub mod redis;
pub mod redis_fleet;
pub mod redis_program;
pub mod rmcp_client;
pub mod scenario;
pub mod sink;
pub mod step_up;
pub mod tap;
mod tls;
pub mod watch;
pub mod web;
pub mod webdriver;
pub mod wire;

pub use record::Recorded;
