//! Gatehouse's operator: the custom resources, the reconciler, and the command line.

pub mod admin;
pub mod admission;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
#[expect(unreachable_pub, reason = "KubeSchema derives a hidden copy of each struct, with its visibility")]
#[expect(
    rustdoc::broken_intra_doc_links,
    rustdoc::bare_urls,
    reason = "these texts are read in the CRDs, as plain text"
)]
pub mod crd;
#[cfg(feature = "dev")]
pub mod dev;
pub mod lease;
pub mod metrics;
pub mod policy;
pub mod redis_users;
pub mod run;
pub mod server;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod watch;
pub mod work;
