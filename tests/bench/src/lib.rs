//! Shared by the programs of the bench: serving HTTP/1.1 with nothing around it.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http_body::Body;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Serves on a loopback port until the process is killed.
///
/// # Errors
/// When the port cannot be bound.
pub async fn serve<F, R, B>(port: u16, handle: F) -> std::io::Result<()>
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<B>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let handle = Arc::new(handle);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let handle = Arc::clone(&handle);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let handle = Arc::clone(&handle);
                async move { Ok::<_, Infallible>(handle(request).await) }
            });
            // A client that hangs up is no news.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The `n`-th argument, which must be there and of its type.
///
/// # Panics
/// With the argument's name.
pub fn argument<T: std::str::FromStr>(n: usize, name: &str) -> T {
    let text = std::env::args().nth(n);
    let parsed = text.as_ref().and_then(|text| text.parse().ok());
    parsed.unwrap_or_else(|| panic!("argument {n} must be {name}, found {text:?}"))
}
