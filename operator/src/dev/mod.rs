//! `gatehouse dev`: everything in one process, without a cluster.
//!
//! The manifests go through the very steps of the operator, `admission` (the API server's part), `validate` and
//! `build`; the gateway then runs in this process from the configuration that `build` rendered.

pub mod demo;
mod plan;
mod redis;
mod serve;
mod state;
mod welcome;

use std::{net::SocketAddr, path::PathBuf};

use url::Url;

use self::plan::Plan;
pub use self::redis::RedisUrl;
use crate::cli::CliError;

/// What `gatehouse dev` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Manifests and directories of manifests; none: the built-in demo.
    pub files: Vec<PathBuf>,
    /// The operator's configuration.
    pub config: Option<PathBuf>,
    /// The demo's port.
    pub port: u16,
    /// Where to listen; the public URL stays as it is.
    pub listen: Option<SocketAddr>,
    /// Where health and metrics are served, if at all.
    pub admin_listen: Option<SocketAddr>,
    /// Where Service backends are, by the backend's name.
    pub backends: Vec<(String, Url)>,
    /// A Redis instead of the memory of this process.
    pub redis: Option<RedisUrl>,
    /// Where the sealing keys are kept.
    pub state: Option<PathBuf>,
}

impl Options {
    /// Whether this is the built-in demo.
    fn is_demo(&self) -> bool {
        self.files.is_empty()
    }
}

/// Runs until the process is asked to end.
///
/// # Errors
/// [`CliError::Input`] with everything that is wrong with the manifests, the configuration or the arguments;
/// [`CliError::Failed`] when a port is taken, the state cannot be read, or Redis cannot be used.
pub async fn run(options: Options) -> Result<(), CliError> {
    let demo =
        demo::start().await.map_err(|e| CliError::Failed(format!("cannot start the demo backend: {e}")))?;
    let plan = Plan::new(&options, &demo).map_err(CliError::Input)?;
    if let Some(redis) = &options.redis {
        for warning in redis.look().await.map_err(CliError::Failed)? {
            eprintln!("warning: {warning}");
        }
    }
    serve::run(&options, plan).await
}
