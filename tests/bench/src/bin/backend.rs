//! The smallest backend that looks like MCP: a tool result of about 600 bytes, or twenty events. `backend PORT`
//!
//! It answers with JSON, or with events when the tool is called `stream`.

use std::convert::Infallible;

use bench::{argument, serve};
use bytes::Bytes;
use futures::{Stream, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::{Request, Response, body::Incoming};

const EVENTS: usize = 20;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    serve(argument(1, "a port"), answer).await
}

async fn answer(
    request: Request<Incoming>,
) -> Response<Either<Full<Bytes>, StreamBody<impl Stream<Item = Result<Frame<Bytes>, Infallible>>>>> {
    let body =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let message: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = "x".repeat(500);
    if message["params"]["name"] == "stream" {
        let event = format!("event: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"{text}\"}}\n\n");
        let body = StreamBody::new(one_by_one(event.into()));
        return response("text/event-stream", Either::Right(body));
    }
    let result = serde_json::json!({"content": [{"type": "text", "text": text}], "isError": false});
    let answer = serde_json::json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
    response("application/json", Either::Left(Full::from(answer.to_string())))
}

fn response<B>(kind: &'static str, body: B) -> Response<B> {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static(kind));
    response
}

/// Each event is flushed on its own, as a tool that works for a while sends them.
fn one_by_one(event: Bytes) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
    stream::unfold((0, event), |(sent, event)| async move {
        tokio::task::yield_now().await;
        (sent < EVENTS).then(|| (Ok(Frame::data(event.clone())), (sent + 1, event)))
    })
}
