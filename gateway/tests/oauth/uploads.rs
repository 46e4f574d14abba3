//! Senders that are slow, or never finish: they hold nobody else back.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::ConnectInfo,
    response::Response,
};
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, poll, stream};
use gatehouse_gateway::upload::Uploads;
use http::{Method, StatusCode, header};
use tower::ServiceExt;

use crate::support::{Answer, Browser, Gateway, form, request};

const POOL: usize = 4 * 1024 * 1024;
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];
const PATIENCE: Duration = Duration::from_secs(5);

/// A POST that sends `begun` and no more.
fn stalled<'a>(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    begun: &'static [u8],
) -> BoxFuture<'a, Response> {
    let begun = stream::once(async move { Bytes::from_static(begun) });
    stalled_from(gateway, path, headers, [203, 0, 113, 9].into(), begun)
}

/// A POST from `source` that sends the pieces `begun` and no more.
fn stalled_from<'a>(
    gateway: &Gateway,
    path: &str,
    headers: &[(&str, &str)],
    source: IpAddr,
    begun: impl Stream<Item = Bytes> + Send + 'static,
) -> BoxFuture<'a, Response> {
    let body = Body::from_stream(begun.map(Ok::<_, std::io::Error>).chain(stream::pending()));
    let mut request = request(Method::POST, path, headers, body);
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((source, 1))));
    gateway.router.clone().oneshot(request).map(Result::unwrap).boxed()
}

/// A token request of somebody else.
async fn of_another(gateway: &Gateway) -> Answer {
    let body = Body::from(form(&[("grant_type", "authorization_code"), ("client_id", "x"), ("code", "x")]));
    let mut request = request(Method::POST, "/oauth/token", &FORM, body);
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([198, 51, 100, 1], 1))));
    gateway.send(request).await
}

#[tokio::test]
async fn hundreds_of_stalled_uploads_hold_nobody_else_back() {
    let gateway = Gateway::local().uploading(Uploads::new(POOL));
    let mut open = Vec::new();
    for _ in 0..400 {
        let mut sending = stalled(&gateway, "/oauth/token", &FORM, b"g");
        assert!(poll!(&mut sending).is_pending());
        open.push(sending);
    }
    let answer = of_another(&gateway).await;
    assert!(answer.is_error(401, "invalid_client"), "{answer:?}");
    let registered = gateway.public_client().await;
    assert!(!registered.id.is_empty());
}

/// What a chunk lies in is larger than the chunk.
#[tokio::test]
async fn no_piece_of_a_stalled_upload_is_kept() {
    let gateway = Gateway::local();
    let json = [("content-type", "application/json")];
    for (path, headers) in [("/oauth/token", FORM), ("/oauth/register", json), ("/oauth/signin", FORM)] {
        let piece: Arc<[u8]> = b"x".as_slice().into();
        let ours = piece.clone();
        let begun = stream::repeat_with(move || Bytes::from_owner(ours.clone())).take(1000);
        let mut sending = stalled_from(&gateway, path, &headers, [203, 0, 113, 9].into(), begun);
        assert!(poll!(&mut sending).is_pending());
        assert_eq!(Arc::strong_count(&piece), 1, "{path}: all came, and went");
    }
}

#[tokio::test]
async fn one_source_holds_a_part_of_the_bytes() {
    static LARGE: [u8; 60 * 1024] = [b'a'; 60 * 1024];
    let gateway = Gateway::local().uploading(Uploads::new(POOL));
    let mut open = Vec::new();
    let refused = loop {
        let mut sending = stalled(&gateway, "/oauth/token", &FORM, &LARGE);
        match sending.as_mut().now_or_never() {
            Some(refused) => break refused,
            None => open.push(sending),
        }
    };
    assert_eq!(open.len(), POOL / 4 / LARGE.len());
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "2");
    assert!(of_another(&gateway).await.is_error(401, "invalid_client"));
    drop(open);
    let mut again = stalled(&gateway, "/oauth/token", &FORM, &LARGE);
    assert!(poll!(&mut again).is_pending());
}

#[tokio::test]
async fn networks_of_many_sources_leave_room_for_others() {
    static LARGE: [u8; 60 * 1024] = [b'a'; 60 * 1024];
    let gateway = Gateway::local().uploading(Uploads::new(POOL));
    let fill = |network: u16| {
        let mut open = Vec::new();
        for source in (0..8).cycle() {
            let ip = Ipv6Addr::from([0x2001, 0xdb8, network, source, 0, 0, 0, 1]);
            let begun = stream::once(async { Bytes::from_static(&LARGE) });
            let mut sending = stalled_from(&gateway, "/oauth/token", &FORM, ip.into(), begun);
            match sending.as_mut().now_or_never() {
                None => open.push(sending),
                Some(refused) => {
                    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
                    break;
                }
            }
        }
        open
    };
    let first = fill(1);
    assert_eq!(first.len(), POOL / 2 / LARGE.len());
    let others: Vec<_> = (2..5).flat_map(&fill).collect();
    assert_eq!(first.len() + others.len(), POOL / 4 * 3 / LARGE.len());
    assert!(of_another(&gateway).await.is_error(401, "invalid_client"));
}

#[tokio::test]
async fn a_body_that_does_not_end_is_given_up() {
    let gateway = Gateway::local().uploading(Uploads::new(POOL).within(Duration::from_millis(20)));
    let json = [("content-type", "application/json")];
    for (path, headers) in [("/oauth/token", FORM), ("/oauth/revoke", FORM), ("/oauth/register", json)] {
        let answer = stalled(&gateway, path, &headers, b"{");
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT, "{path}");
        let body = axum::body::to_bytes(answer.into_body(), 1024).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"], "invalid_request", "{path}");
    }
    let page = Browser::default().get(&gateway, "/account").await;
    assert_eq!(page.status, StatusCode::OK);
    for path in ["/oauth/signin", "/account"] {
        let answer = tokio::time::timeout(PATIENCE, stalled(&gateway, path, &FORM, b"a")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT, "{path}");
        assert!(answer.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html"), "{path}");
    }
}
