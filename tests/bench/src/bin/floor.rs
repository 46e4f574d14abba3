//! The floor: hyper's server and hyper-util's pooled client with nothing between them. `floor PORT BACKEND_ADDRESS`

use bench::{argument, serve};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Request, Response, StatusCode, Uri, body::Incoming, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let backend: String = argument(2, "the backend's address");
    serve(argument(1, "a port"), move |request| forward(client.clone(), backend.clone(), request)).await
}

async fn forward(
    client: Client<HttpConnector, Incoming>,
    backend: String,
    mut request: Request<Incoming>,
) -> Answer {
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let uri = Uri::builder().scheme("http").authority(backend).path_and_query(path).build();
    *request.uri_mut() = uri.unwrap_or_default();
    request.headers_mut().remove(header::HOST);
    request.headers_mut().remove(header::CONNECTION);
    match client.request(request).await {
        Ok(response) => response.map(BodyExt::boxed),
        Err(error) => {
            let body = Full::from(error.to_string()).map_err(|never| match never {}).boxed();
            let mut response = Response::new(body);
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
