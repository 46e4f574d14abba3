//! Runs the planned gateways in this process.

use std::{
    io::{ErrorKind, IsTerminal},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use gatehouse_gateway::{
    audit,
    clock::{SystemClock, SystemEntropy},
    serve::{self as gateway, serve},
    shutdown,
};
use gatehouse_gateway_config::keys::Keyring;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use super::{
    Options,
    plan::{Plan, Planned},
    state,
    welcome::welcome,
};
use crate::{cli::CliError, clock::Entropy};

/// The longest that Ctrl-C waits for open requests: at a terminal nobody waits for a drain period.
const PATIENCE: Duration = Duration::from_secs(3);

/// Serves until SIGINT or SIGTERM.
pub(super) async fn run(options: &Options, plan: Plan) -> Result<(), CliError> {
    init_log();
    let shutdown =
        shutdown::on_signal().map_err(|e| CliError::Failed(format!("cannot wait for signals: {e}")))?;
    let mut gateways = Vec::new();
    let mut texts = Vec::new();
    for planned in plan.servers {
        texts.push(welcome(&planned.valid, options.is_demo()));
        gateways.push(open(options, planned, shutdown.clone()).await?);
    }
    // Nothing is served before everything could be opened.
    let running = gateways
        .into_iter()
        .map(|options| async { serve(options).await.map_err(|e| CliError::Failed(e.to_string())) });
    println!("{}\n{}", texts.concat(), where_state_is(options));
    try_join_all(running).await.map(|_| ())
}

async fn open(
    options: &Options,
    planned: Planned,
    shutdown: CancellationToken,
) -> Result<gateway::Options, CliError> {
    let Planned { valid, mut config, listen, refs } = planned;
    for server in &mut config.servers {
        server.drain_period = server.drain_period.min(PATIENCE);
    }
    let fresh = || Entropy::system().with(Keyring::generate);
    let keyring = match &options.state {
        None => fresh(),
        Some(directory) => {
            state::keyring(directory, &valid.namespace, &valid.name, fresh).map_err(CliError::Failed)?
        }
    };
    let admin = match options.admin_listen {
        Some(address) => Some(listener(address, false).await?),
        None => None,
    };
    Ok(gateway::Options {
        config,
        keyring,
        refs: Arc::new(refs),
        mounted: None,
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(SystemEntropy),
        audit: Some(Arc::new(Terminal)),
        listener: listener(listen, options.is_demo()).await?,
        admin,
        settle: Duration::ZERO,
        shutdown,
    })
}

async fn listener(address: SocketAddr, demo: bool) -> Result<TcpListener, CliError> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = match error.kind() {
            ErrorKind::AddrInUse if demo => "another program listens there; choose another port: --port N".to_owned(),
            ErrorKind::AddrInUse => {
                "another program listens there; stop it, or listen elsewhere: --listen 127.0.0.1:N (clients still \
                 come to spec.url)"
                    .to_owned()
            }
            ErrorKind::PermissionDenied => {
                "ports below 1024 are for root; listen elsewhere: --listen 127.0.0.1:8080".to_owned()
            }
            _ => error.to_string(),
        };
        CliError::Failed(format!("cannot listen on {address}: {why}"))
    })
}

fn where_state_is(options: &Options) -> String {
    let state = match (&options.redis, &options.state) {
        (None, _) => "The state is in memory and ends with this process.".to_owned(),
        (Some(_), Some(directory)) => {
            format!("The state is in Redis, its sealing keys in {}.", directory.display())
        }
        (Some(_), None) => {
            "The state is in Redis. Its sealing keys end with this process, and the state with them: --state DIR keeps \
             them."
                .to_owned()
        }
    };
    format!("{state} Ctrl-C ends it.")
}

/// Shows audit events between the lines of the log.
#[derive(Debug)]
struct Terminal;

impl audit::Sink for Terminal {
    fn take(&self, record: &audit::Record<'_>) {
        tracing::info!(target: audit::TARGET, "{record}");
    }
}

/// Lines for a person on standard error; `GATEHOUSE_LOG` filters them, as it does in the gateway.
fn init_log() {
    let filter = EnvFilter::try_from_env("GATEHOUSE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A file or a pipe is read by programs and editors, which would show the colours' codes.
    let colours = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_target(false).with_ansi(colours).with_writer(std::io::stderr);
    // Fails only when a subscriber is set already.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
