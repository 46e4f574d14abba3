//! A gateway at work in this process: from its configuration to the last drained connection.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, extract::ConnectInfo, response::Response};
use gatehouse_gateway_config::{GatewayConfig, keys::Keyring};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt;

use crate::{
    admin::{self, Health},
    app,
    assemble::{self, AssembleError, Gateway},
    audit,
    clock::{Clock, Entropy},
    identity::local::sweep,
    mcp,
    refs::Refs,
    reload::{self, Mounted},
};

/// How long the headers of a request may take.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// The most bytes of a request's line and headers.
const HEADER_BYTES: usize = 64 * 1024;
/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything a gateway needs, already open: `gatehouse dev` gives the same as the binary.
#[derive(Debug)]
pub struct Options {
    /// The configuration.
    pub config: GatewayConfig,
    /// The server's keys.
    pub keyring: Keyring,
    /// The values of Secrets.
    pub refs: Arc<dyn Refs>,
    /// The files behind keys and Secrets, if they are to be followed.
    pub mounted: Option<Mounted>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Where audit events go; nowhere, if at all.
    pub audit: Option<Arc<dyn audit::Sink>>,
    /// Where OAuth and MCP are served.
    pub listener: TcpListener,
    /// Where `/livez`, `/readyz` and `/metrics` are served, if at all.
    pub admin: Option<TcpListener>,
    /// How long connections are still accepted after the shutdown began: load balancers learn of it a moment later.
    pub settle: Duration,
    /// Begins the shutdown.
    pub shutdown: CancellationToken,
}

/// Serves until the shutdown, then drains: not ready first, then no new connections, streams that only listen end,
/// and everything else may finish within the drain period. What is to be stored of upstream refreshes is waited for.
///
/// # Errors
/// When the configuration cannot be put to work. Later troubles are logged, and shown by `/readyz`.
pub async fn serve(options: Options) -> Result<(), AssembleError> {
    let Options { config, keyring, refs, mounted, clock, entropy, audit, listener, admin, settle, shutdown } =
        options;
    let gateway = Arc::new(assemble::assemble(&config, keyring, refs, clock, entropy, audit)?);
    let stop = CancellationToken::new();
    let _stop_all = stop.clone().drop_guard();
    let health = Arc::new(Health::new(gateway.server.store.clone()));
    let _admin = admin.map(|listener| {
        let router = admin::router(health.clone(), gateway.metrics.clone());
        AbortOnDropHandle::new(tokio::spawn(async move { axum::serve(listener, router).await }))
    });
    if let Some(mounted) = mounted {
        tokio::spawn(reload::run(
            mounted,
            gateway.server.keys.clone(),
            gateway.metrics.clone(),
            stop.clone(),
        ));
    }
    tokio::spawn(sweep::run(gateway.server.clone(), stop.clone()));
    // Says in the log why a gateway that has just started is not ready.
    if health.ready().await.is_ok() {
        tracing::info!(url = gateway.server.urls.resource, "ready");
    }

    let connections = GracefulShutdown::new();
    accept(&listener, &gateway, &connections, shutdown.cancelled()).await;
    health.drain();
    tracing::info!("shutting down");
    accept(&listener, &gateway, &connections, tokio::time::sleep(settle)).await;
    drop(listener);
    drain(&gateway, connections).await;
    Ok(())
}

async fn drain(gateway: &Gateway, connections: GracefulShutdown) {
    let period = gateway.server.config.drain_period;
    gateway.mcp.drain();
    let finished = async {
        connections.shutdown().await;
        gateway.mcp.finished().await;
        gateway.custody.drained().await;
    };
    if tokio::time::timeout(period, finished).await.is_ok() {
        tracing::info!("drained");
    } else {
        tracing::warn!(?period, "the drain period is over; what is still open is cut");
    }
}

/// Accepts connections until `end`.
async fn accept(
    listener: &TcpListener,
    gateway: &Arc<Gateway>,
    connections: &GracefulShutdown,
    end: impl Future<Output = ()>,
) {
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => connection(stream, address, gateway.clone(), connections),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one request: calls directly, everything else by the router.
async fn answer(gateway: &Gateway, address: SocketAddr, request: hyper::Request<Incoming>) -> Response {
    let mut request = request.map(Body::new);
    if app::is_plain_call(&gateway.server, &request) {
        return mcp::answer(&gateway.mcp, request).await;
    }
    request.extensions_mut().insert(ConnectInfo(address));
    gateway.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
}

fn connection(stream: TcpStream, address: SocketAddr, gateway: Arc<Gateway>, connections: &GracefulShutdown) {
    // Answers are small: they must not wait for Nagle's algorithm.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let gateway = gateway.clone();
        async move { Ok::<_, Infallible>(answer(&gateway, address, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
}
