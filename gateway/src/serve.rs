//! A gateway at work in this process: from its configuration to the last drained connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::ConnectInfo,
    response::{IntoResponse, Response},
};
use gatehouse_gateway_config::{GatewayConfig, keys::Keyring};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt;

use crate::{
    admin::{self, Health},
    app,
    assemble::{self, AssembleError, Gateway},
    audit,
    capacity::{Capacity, HEADER_BYTES},
    clock::{Clock, Entropy},
    identity::local::sweep,
    mcp,
    oauth::source::Source,
    refs::Refs,
    reload::{self, Mounted},
};

/// How long the headers of a request may take.
const HEADER_TIME: Duration = Duration::from_secs(30);
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

    let connections = Connections::new(Capacity::detect().connections);
    accept(&listener, &gateway, &connections, shutdown.cancelled()).await;
    health.drain();
    tracing::info!("shutting down");
    accept(&listener, &gateway, &connections, tokio::time::sleep(settle)).await;
    drop(listener);
    drain(&gateway, connections.open).await;
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

/// The connections that are open, and room for further ones.
struct Connections {
    open: GracefulShutdown,
    room: Arc<Semaphore>,
}

impl Connections {
    fn new(most: usize) -> Self {
        Self { open: GracefulShutdown::new(), room: Arc::new(Semaphore::new(most)) }
    }

    /// The next connection, once there is room for it: until then it waits in the kernel's queue and takes no memory
    /// of ours.
    async fn next(
        &self,
        listener: &TcpListener,
    ) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let room = self.room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let (stream, address) = listener.accept().await?;
        Ok((stream, address, room))
    }
}

/// Accepts connections until `end`.
async fn accept(
    listener: &TcpListener,
    gateway: &Arc<Gateway>,
    connections: &Connections,
    end: impl Future<Output = ()>,
) {
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => return,
            accepted = connections.next(listener) => accepted,
        };
        match accepted {
            Ok((stream, address, room)) => {
                connection(stream, address, room, gateway.clone(), &connections.open);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers one request. After one with `Transfer-Encoding` the connection ends: where it came with a
/// `Content-Length` too, a proxy may have seen another end of it than we (RFC 9112 section 6.1), and hyper does not
/// tell when it has dropped that header.
async fn answer(gateway: &Gateway, address: SocketAddr, request: hyper::Request<Incoming>) -> Response {
    let headers = request.headers();
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return route(gateway, address, request).await;
    }
    let mut response = if headers.contains_key(header::CONTENT_LENGTH) {
        StatusCode::BAD_REQUEST.into_response()
    } else {
        route(gateway, address, request).await
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Calls go directly, everything else by the router.
async fn route(gateway: &Gateway, address: SocketAddr, request: hyper::Request<Incoming>) -> Response {
    let mut request = request.map(Body::new);
    if app::is_plain_call(&gateway.server, &request) {
        let source = |headers: &HeaderMap| Source::of(address.ip(), headers, &gateway.trusted_proxies);
        return mcp::answer(&gateway.mcp, request, source).await;
    }
    request.extensions_mut().insert(ConnectInfo(address));
    gateway.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
}

fn connection(
    stream: TcpStream,
    address: SocketAddr,
    room: OwnedSemaphorePermit,
    gateway: Arc<Gateway>,
    connections: &GracefulShutdown,
) {
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
        drop(room);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_for_another_to_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Connections::new(1);
        let _clients =
            (TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap());
        let first = connections.next(&listener).await.unwrap();
        let mut second = Box::pin(connections.next(&listener));
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await.unwrap());
    }
}
