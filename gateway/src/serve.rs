//! A gateway at work in this process: from its configuration to the last drained connection.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tower::ServiceExt;

use crate::{
    admin::{self, Health},
    app,
    assemble::{self, AssembleError, Gateway},
    audit,
    capacity::{Capacity, HEADER_BYTES},
    clock::{Clock, Entropy},
    connections::{Connections, Place},
    identity::local::sweep,
    mcp,
    oauth::source::Source,
    refs::Refs,
    reload::{self, Mounted},
};

/// How long the headers of a connection's first request may take: whoever connects has something to say.
const FIRST_HEADER_TIME: Duration = Duration::from_secs(10);
/// How long those of each further one may take, which is how long a connection may be idle, too: proxies keep some open.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How much longer than the drain period what must be written may take. The pod is killed ten seconds after that period,
/// of which the settling takes five.
const WRITES: Duration = Duration::from_secs(4);

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

/// Serves until the shutdown, then drains: not ready first, and each answer ends its connection; then no new connections,
/// streams that only listen end, and everything else may finish within the drain period. What is to be stored of upstream
/// refreshes, and what ends sign-ins and tells of it, is waited for beyond it.
///
/// # Errors
/// When the configuration cannot be put to work. Later troubles are logged, and shown by `/readyz`.
pub async fn serve(options: Options) -> Result<(), AssembleError> {
    let Options { config, keyring, refs, mounted, clock, entropy, audit, listener, admin, settle, shutdown } =
        options;
    let gateway = Arc::new(assemble::assemble(&config, keyring, refs, clock, entropy, audit)?);
    let stop = CancellationToken::new();
    let _stop_all = stop.clone().drop_guard();
    let health = Arc::new(Health::new(gateway.server.store.clone(), gateway.server.clock.clone()));
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
    tokio::spawn(sweep::run(gateway.server.clone(), shutdown.clone()));
    // Says in the log why a gateway that has just started is not ready.
    if health.ready().await.is_ok() {
        tracing::info!(url = gateway.server.urls.resource, "ready");
    }

    let connections = Connections::new(Capacity::detect().connections, gateway.trusted_proxies.clone());
    let front = Front { gateway: gateway.clone(), health: health.clone() };
    accept(&listener, &front, &connections, shutdown.cancelled()).await;
    health.drain();
    tracing::info!("shutting down");
    accept(&listener, &front, &connections, tokio::time::sleep(settle)).await;
    drop(listener);
    drain(&gateway, connections.open).await;
    Ok(())
}

async fn drain(gateway: &Gateway, connections: GracefulShutdown) {
    let period = gateway.server.config.drain_period;
    gateway.mcp.drain();
    let answered = async {
        connections.shutdown().await;
        gateway.mcp.finished().await;
    };
    if tokio::time::timeout(period, answered).await.is_err() {
        tracing::warn!(?period, "the drain period is over; what is still open is cut");
    }
    if tokio::time::timeout(WRITES, gateway.server.finished()).await.is_ok() {
        tracing::info!("drained");
    } else {
        tracing::error!("the store has not taken what was to be written");
    }
}

/// What a connection needs.
#[derive(Clone)]
struct Front {
    gateway: Arc<Gateway>,
    health: Arc<Health>,
}

/// Accepts connections until `end`.
async fn accept(
    listener: &TcpListener,
    front: &Front,
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
            Ok((stream, address, place)) => {
                connection(stream, address, place, front.clone(), &connections.open);
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
/// tell when it has dropped that header. It ends, too, when no more is wanted here: whoever keeps connections shall not send
/// a request on one that is about to be closed.
async fn answer(front: &Front, address: SocketAddr, request: hyper::Request<Incoming>) -> Response {
    let headers = request.headers();
    let is_coded = headers.contains_key(header::TRANSFER_ENCODING);
    let is_unclear = is_coded && (headers.contains_key(header::CONTENT_LENGTH) || !is_chunked(headers));
    let mut response = if is_unclear {
        StatusCode::BAD_REQUEST.into_response()
    } else {
        route(&front.gateway, address, request).await
    };
    if is_coded || front.health.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether a body is sent in chunks and in no other coding: hyper undoes chunks, and passes over what stands before.
fn is_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let only =
        codings.next().is_some_and(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    only && codings.next().is_none()
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
    place: Place,
    front: Front,
    connections: &GracefulShutdown,
) {
    // Answers are small: they must not wait for Nagle's algorithm.
    let _ = stream.set_nodelay(true);
    let began = Arc::new(AtomicBool::new(false));
    let begins = began.clone();
    let service = service_fn(move |request| {
        begins.store(true, Ordering::Relaxed);
        let front = front.clone();
        async move { Ok::<_, Infallible>(answer(&front, address, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        unless_silent(connection, &began, FIRST_HEADER_TIME).await;
        drop(place);
    });
}

/// Serves a connection to its end, or as long as its first request may take, when none comes.
async fn unless_silent(
    connection: impl Future<Output = hyper::Result<()>>,
    began: &AtomicBool,
    limit: Duration,
) {
    let late = async {
        tokio::time::sleep(limit).await;
        if began.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        }
        () = late => tracing::debug!("a connection was closed whose first request did not come"),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{
        clock::{SystemClock, SystemEntropy},
        credentials::standing::to_its_end,
        refs::FixedRefs,
        store::StoreError,
    };

    /// Whoever asked for it has hung up, and calls have used up the drain period.
    #[tokio::test]
    async fn a_drain_waits_for_what_was_begun() {
        let config = GatewayConfig::parse(
            r#"{"servers": [{
                "drainPeriod": "0s", "namespace": "team-a", "name": "tools", "url": "http://127.0.0.1:1/mcp", "issuer": "http://127.0.0.1:1",
                "identity": {"local": {"users": {"name": "users", "key": "users.yaml"}}},
                "access": {"allow": "everyone"},
                "backends": [{"name": "tools", "target": {"url": "http://127.0.0.1:9/mcp"}}]
            }]}"#,
        );
        let keyring = Keyring::generate(&mut StdRng::seed_from_u64(1));
        let (clock, refs) = (Arc::new(SystemClock::default()), Arc::new(FixedRefs::default()));
        let gateway =
            assemble::assemble(&config.unwrap(), keyring, refs, clock, Arc::new(SystemEntropy), None);
        let gateway = gateway.unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let told = Arc::new(AtomicBool::new(false));
        let tells = told.clone();
        let work = async move {
            let _ = ended.await;
            tells.store(true, Ordering::Relaxed);
            Ok::<(), StoreError>(())
        };
        assert!(to_its_end(&gateway.server.tasks, work).now_or_never().is_none());
        let mut drained = Box::pin(drain(&gateway, GracefulShutdown::new()));
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut drained).await.is_err());
        end.send(()).unwrap();
        drained.await;
        assert!(told.load(Ordering::Relaxed));
    }

    #[test]
    fn a_body_comes_in_chunks_or_in_no_transfer_coding() {
        let said = |lines: &[&'static str]| {
            let value = |line| (header::TRANSFER_ENCODING, HeaderValue::from_static(line));
            is_chunked(&lines.iter().copied().map(value).collect())
        };
        assert!(said(&["chunked"]) && said(&["Chunked"]));
        for lines in [
            &["gzip, chunked"][..],
            &["gzip", "chunked"],
            &["chunked, chunked"],
            &["chunked", "chunked"],
            &["x"],
        ] {
            assert!(!said(lines), "{lines:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_request_ends_and_one_that_had_one_goes_on() {
        let limit = Duration::from_millis(1);
        unless_silent(std::future::pending(), &AtomicBool::new(false), limit).await;
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let began = AtomicBool::new(true);
        let mut open =
            Box::pin(unless_silent(async { ended.await.map_err(|_| unreachable!()) }, &began, limit));
        assert!(tokio::time::timeout(20 * limit, &mut open).await.is_err());
        end.send(()).unwrap();
        open.await;
    }
}
