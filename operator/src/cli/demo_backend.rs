//! `gatehouse demo-backend`: the backend of the quick start, as a program of its own.

use std::net::SocketAddr;

use clap::Args;
use tokio::net::TcpListener;

use super::CliError;
use crate::dev::demo;

/// Serve the demo backend that crds/examples/quickstart.yaml runs in a cluster.
#[derive(Debug, Args)]
pub(super) struct DemoBackendArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
}

pub(super) async fn run(args: DemoBackendArgs) -> Result<(), CliError> {
    let DemoBackendArgs { listen } = args;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|e| CliError::Failed(format!("cannot listen on {listen}: {e}")))?;
    let address = listener.local_addr().unwrap_or(listen);
    eprintln!("The demo backend is at {}", demo::endpoint(address));
    demo::serve(listener).await.map_err(|e| CliError::Failed(e.to_string()))
}
