//! `gatehouse dev`: a working gateway from manifests, in one process, without a cluster.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use url::Url;

use super::CliError;
use crate::dev;

/// The port of the demo, and of a server whose public URL is elsewhere.
const PORT: u16 = 8080;

/// Run a working gateway in this process, without a cluster.
///
/// Without -f it is a demo: users alice and bob (the password is the name) and a backend that acts on a small
/// in-memory GitHub with the credential of whoever calls.
#[derive(Debug, Args)]
pub(super) struct DevArgs {
    /// A manifest, or a directory of manifests: the very ones that go to a cluster, with the Secrets they name.
    #[arg(short = 'f', long = "file", value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// The operator's configuration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The demo's port.
    #[arg(long, value_name = "N", default_value_t = PORT, conflicts_with = "files")]
    port: u16,
    /// Where to listen; the public URL stays the one of the manifest. Default: the URL's port on 127.0.0.1.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where /livez, /readyz and /metrics of the one server are served; nowhere by default.
    #[arg(long, value_name = "ADDR")]
    admin_listen: Option<SocketAddr>,
    /// Where a backend is that is a Service in the cluster.
    #[arg(long = "backend", value_name = "NAME=URL", value_parser = backend)]
    backends: Vec<(String, Url)>,
    /// Keep the state in this Redis instead of in memory.
    #[arg(long, value_name = "URL")]
    redis: Option<dev::RedisUrl>,
    /// Keep the sealing keys in this directory: what is in Redis is of no use without them.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

fn backend(text: &str) -> Result<(String, Url), String> {
    let (name, url) =
        text.split_once('=').ok_or("must be NAME=URL, for example tools=http://localhost:9000/mcp")?;
    let url = Url::parse(url).map_err(|e| format!("\"{url}\" is not a URL: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(format!("\"{url}\" must begin with http:// or https://"));
    }
    Ok((name.to_owned(), url))
}

pub(super) async fn run(args: DevArgs) -> Result<(), CliError> {
    let DevArgs { files, config, port, listen, admin_listen, backends, redis, state } = args;
    dev::run(dev::Options { files, config, port, listen, admin_listen, backends, redis, state }).await
}
