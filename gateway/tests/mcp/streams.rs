//! Event streams: passed on as they come, kept alive, and ended when their user may no longer listen.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use gatehouse_gateway::{mcp::dns::Dns, model::IdentityState};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    backend::{answer, events_that_break, events_until_dropped, until_dropped},
    kit::{Kit, LIFE, next, read, tool_call, until},
};

pub(crate) const PROGRESS: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n";

/// Says so when it is dropped.
struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A gateway whose silent streams get a comment soon.
async fn lively() -> Kit {
    Kit::build(|_| {}, Some(Arc::new(Dns::new("/nonexistent", 53)))).await
}

/// Opens a stream that the backend keeps open after these chunks.
pub(crate) async fn listen(kit: &Kit, token: &str, chunks: &[&'static str]) -> Incoming {
    let (chunks, dropped) = (chunks.to_vec(), kit.backend.dropped.clone());
    kit.backend.answer_with(move |_| {
        let response = events_until_dropped(chunks.clone(), dropped.clone());
        Box::pin(async move { response })
    });
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    let response = kit.open(Method::GET, &kit.url, &headers, "").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    response.into_body()
}

#[tokio::test]
async fn events_pass_one_by_one_while_the_stream_is_open() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let mut body = listen(&kit, &token, &["id: 1\nretry: 10\n", "data: a\n\n", ": hi\n\n"]).await;
    for expected in ["id: 1\nretry: 10\n", "data: a\n\n", ": hi\n\n"] {
        assert_eq!(next(&mut body).await.as_deref(), Some(expected));
    }
    assert_eq!(kit.gateway.metrics.open_streams.get(), 1);
}

#[tokio::test]
async fn a_silent_stream_gets_comments_between_events_only() {
    let kit = lively().await;
    let token = kit.sign_in("1").await;
    let mut body = listen(&kit, &token, &["data: a\n\n"]).await;
    assert_eq!(next(&mut body).await.as_deref(), Some("data: a\n\n"));
    for _ in 0..3 {
        assert_eq!(next(&mut body).await.as_deref(), Some(": keep-alive\n\n"));
    }
    let mut body = listen(&kit, &token, &["data: half"]).await;
    assert_eq!(next(&mut body).await.as_deref(), Some("data: half"));
    let silent = tokio::time::timeout(Duration::from_millis(200), next(&mut body)).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed_by_the_backend() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let mut body = listen(&kit, &token, &[PROGRESS]).await;
    next(&mut body).await;
    drop(body);
    kit.backend.dropped.notified().await;
}

#[tokio::test]
async fn a_client_that_hangs_up_before_the_answer_is_noticed_too() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let (began, dropped) = (Arc::new(Notify::new()), kit.backend.dropped.clone());
    let begins = began.clone();
    kit.backend.answer_with(move |_| {
        let (begins, told) = (begins.clone(), Told(dropped.clone()));
        Box::pin(async move {
            begins.notify_one();
            let _told = told;
            std::future::pending().await
        })
    });
    tokio::select! {
        _ = kit.call(&token) => panic!("nobody answers"),
        () = began.notified() => {}
    }
    kit.backend.dropped.notified().await;
}

#[tokio::test]
async fn a_revoked_grant_ends_its_streams_and_no_others() {
    let kit = lively().await;
    let client = kit.client_id();
    let alice = kit.sign_in_as("1", |grant| grant.client_id.clone_from(&client)).await;
    let bob = kit.sign_in("2").await;
    let mut hers = listen(&kit, &alice, &[PROGRESS]).await;
    let mut his = listen(&kit, &bob, &[PROGRESS]).await;
    next(&mut hers).await;
    next(&mut his).await;
    let url = kit.gateway.server.urls.endpoint("/oauth/revoke");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("client_id={client}&token={alice}");
    assert_eq!(kit.open(Method::POST, &url, &form, body).await.status(), 200);
    while let Some(text) = next(&mut hers).await {
        assert_eq!(text, ": keep-alive\n\n");
    }
    assert_eq!(next(&mut his).await.as_deref(), Some(": keep-alive\n\n"));
}

#[tokio::test]
async fn a_dead_users_streams_end() {
    let kit = lively().await;
    let token = kit.sign_in("1").await;
    let mut body = listen(&kit, &token, &[PROGRESS]).await;
    next(&mut body).await;
    let store = &kit.gateway.server.store;
    store.refuse_identity(&kit.user("1"), 1, "token_refused").await.unwrap();
    let user = store.user(&kit.user("1")).await.unwrap().unwrap();
    assert!(matches!(user.state, IdentityState::Dead { .. }), "{user:?}");
    while let Some(text) = next(&mut body).await {
        assert_eq!(text, ": keep-alive\n\n");
    }
}

#[tokio::test]
async fn a_drain_ends_streams_that_only_listen() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let mut body = listen(&kit, &token, &[PROGRESS]).await;
    next(&mut body).await;
    kit.mcp.drain();
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn a_backend_that_dies_between_events_leaves_an_error_for_the_request() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.backend.answer_with(|_| Box::pin(async { events_that_break(vec![PROGRESS]) }));
    let answer = kit.call(&token).await;
    let last = answer.text.strip_prefix(PROGRESS).unwrap();
    let data = last.strip_prefix("event: message\ndata: ").unwrap().trim_end();
    let error: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!((error["id"].as_i64(), error["error"]["code"].as_i64()), (Some(7), Some(-32052)));
}

#[tokio::test]
async fn a_broken_stream_that_can_be_resumed_or_is_cut_inside_an_event_breaks_for_the_client_too() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    for chunks in [["id: 1\n", "data: a\n\n"], ["data: a\n\n", "data: b"]] {
        kit.backend.answer_with(move |_| Box::pin(async move { events_that_break(chunks.to_vec()) }));
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let response = kit.open(Method::POST, &kit.url, &headers, tool_call().to_string()).await;
        assert!(response.into_body().collect().await.is_err());
    }
}

#[tokio::test]
async fn a_stream_that_listens_ends_with_its_token() {
    let kit = Kit::start().await;
    let token = kit.sign_in_for("1", Duration::from_millis(300), |_| {}).await;
    let mut body = listen(&kit, &token, &[PROGRESS]).await;
    assert_eq!(next(&mut body).await.as_deref(), Some(PROGRESS));
    assert_eq!(next(&mut body).await, None, "as a stream ends whose server has no more to say");
    kit.backend.dropped.notified().await;
    assert_eq!(kit.trail.with("outcome", "expired").len(), 1);
}

#[tokio::test]
async fn what_ends_without_an_event_is_found_by_looking() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let mut body = listen(&kit, &token, &[PROGRESS]).await;
    next(&mut body).await;
    kit.clock.advance(LIFE);
    assert_eq!(next(&mut body).await, None);
}

#[tokio::test]
async fn a_request_whose_stream_is_cut_is_answered() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    let dropped = kit.backend.dropped.clone();
    kit.backend.answer_with(move |_| {
        let response = events_until_dropped(vec![PROGRESS], dropped.clone());
        Box::pin(async move { response })
    });
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let mut body = kit.open(Method::POST, &kit.url, &headers, tool_call().to_string()).await.into_body();
    assert_eq!(next(&mut body).await.as_deref(), Some(PROGRESS));
    kit.gateway.server.store.refuse_identity(&kit.user("1"), 1, "token_refused").await.unwrap();
    let last = next(&mut body).await.unwrap();
    assert!(last.starts_with("event: message\ndata: {") && last.contains("\"id\":7"), "{last}");
    assert!(last.contains("-32050"), "{last}");
    assert_eq!(next(&mut body).await, None);
}

/// Attack 111: what is no event stream flows on as long as the backend likes.
#[tokio::test]
async fn an_answer_that_is_no_stream_of_events_is_cut_and_looks_it() {
    let kit = Kit::start().await;
    let tell = serde_json::json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let (call, tell) = (tool_call().to_string(), tell.to_string());
    let asked = [
        (Method::POST, call.as_str(), 200, None),
        // It says how long it will be, and is not.
        (Method::POST, &call, 200, Some("1000")),
        (Method::POST, &call, 400, None),
        (Method::POST, &tell, 202, None),
        (Method::DELETE, "", 200, None),
    ];
    for (user, (method, message, status, length)) in asked.into_iter().enumerate() {
        for late in [false, true] {
            let (subject, what) = (format!("{user}-{late}"), format!("{method} {message} {status} {late}"));
            let token = kit.sign_in(&subject).await;
            let dropped = kit.backend.dropped.clone();
            kit.backend.answer_with(move |_| {
                let response =
                    http::Response::builder().status(status).header("content-type", "application/json");
                let response =
                    length.into_iter().fold(response, |r, length| r.header("content-length", length));
                let response = response.body(until_dropped(vec!["{\"id\":7,"], dropped.clone())).unwrap();
                Box::pin(async move { response })
            });
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let response = kit.open(method.clone(), &kit.url, &headers, message.to_owned()).await;
            assert_eq!(response.status(), status, "{what}");
            let mut body = response.into_body();
            assert_eq!(next(&mut body).await.as_deref(), Some("{\"id\":7,"), "{what}");
            if late {
                until(async || kit.gateway.metrics.open_streams.get() == 1).await;
            }
            let dead = IdentityState::Dead { reason: "token_refused".into(), told: false };
            let store = &kit.gateway.server.store;
            assert!(store.set_identity_state(&kit.user(&subject), &dead).await.unwrap());
            assert!(body.collect().await.is_err(), "{what}");
            kit.backend.dropped.notified().await;
            until(async || kit.gateway.metrics.open_streams.get() == 0).await;
        }
    }
    assert_eq!(kit.trail.with("outcome", "revoked").len(), 10);
}

/// What a slow backend answers after its user's right has ended is theirs no more, and what it answers before still is.
#[tokio::test]
async fn an_answer_that_comes_too_late_is_refused() {
    let hides = |server: &mut Value| server["backends"][0]["tools"] = json!({"deny": ["hidden"]});
    let kit = Kit::with(hides).await;
    let go = Arc::new(Notify::new());
    // The head comes late, or of a list that must be read as a whole its end.
    let waits = |at_once: bool| {
        let (go, dropped) = (go.clone(), kit.backend.dropped.clone());
        kit.backend.answer_with(move |seen| {
            let (go, told) = (go.clone(), Told(dropped.clone()));
            let result = json!({"jsonrpc": "2.0", "id": seen.id(), "result": {"tools": []}}).to_string();
            let body = async move {
                go.notified().await;
                drop(told);
                Ok::<_, std::io::Error>(Bytes::from(result))
            };
            Box::pin(async move {
                if at_once {
                    return json_of(Body::from_stream(futures::stream::once(body)));
                }
                json_of(Body::from(body.await.unwrap()))
            })
        });
    };
    let list = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/list"});
    let is_slow = async || until(async || kit.gateway.metrics.open_streams.get() == 1).await;
    for (message, at_once) in [(&tool_call(), false), (&list, false), (&list, true)] {
        waits(at_once);
        let client = kit.client_id();
        let token = kit.sign_in_as("1", |grant| grant.client_id.clone_from(&client)).await;
        let in_time = async {
            is_slow().await;
            go.notify_one();
            kit.backend.dropped.notified().await;
        };
        let (answered, ()) = tokio::join!(kit.post(&token, message), in_time);
        assert_eq!(answered.status, 200, "{message} {at_once}: {answered:?}");
        let too_late = async {
            is_slow().await;
            let url = kit.gateway.server.urls.endpoint("/oauth/revoke");
            let form = [("content-type", "application/x-www-form-urlencoded")];
            let body = format!("client_id={client}&token={token}");
            assert_eq!(kit.open(Method::POST, &url, &form, body).await.status(), 200);
            kit.backend.dropped.notified().await;
        };
        let (refused, ()) = tokio::join!(kit.post(&token, message), too_late);
        assert_eq!(refused.error(), (403, -32050), "{message} {at_once}: {refused:?}");
        assert!(refused.message().contains("sign-in ended"), "{refused:?}");
        assert_eq!(kit.post(&token, message).await.status, 401);
    }
    assert_eq!(kit.trail.with("reason", "late_answer").len(), 3);
    assert_eq!(kit.gateway.metrics.open_streams.get(), 0);
}

/// A client renews its token beside its calls, and nobody would wait for the answer of a second one.
#[tokio::test]
async fn an_answer_that_outlives_its_token_is_given_whenever_it_begins() {
    let (kit, go) = (Kit::start().await, Arc::new(Notify::new()));
    let life = Duration::from_secs(60);
    for streams in [true, false] {
        let token = kit.sign_in_for("1", life, |_| {}).await;
        let waits = go.clone();
        kit.backend.answer_with(move |_| {
            let go = waits.clone();
            Box::pin(async move {
                go.notified().await;
                let rest = async move {
                    go.notified().await;
                    Ok::<_, std::io::Error>(Bytes::from("data: {}\n\n"))
                };
                let kind = if streams { "text/event-stream" } else { "application/json" };
                let body = Body::from_stream(futures::stream::once(rest));
                http::Response::builder().header("content-type", kind).body(body).unwrap()
            })
        });
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let is_open = async || until(async || kit.gateway.metrics.open_streams.get() == 1).await;
        let outlive = async {
            is_open().await;
            kit.clock.advance(life);
            go.notify_one();
        };
        let call = kit.open(Method::POST, &kit.url, &headers, tool_call().to_string());
        let (response, ()) = tokio::join!(call, outlive);
        assert_eq!(response.status(), 200);
        tokio::time::timeout(Duration::from_secs(10), is_open()).await.expect("it goes on");
        go.notify_one();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "data: {}\n\n", "{streams}");
    }
}

/// Whoever renews a token beside what it began with it loses what listens by the old one alone.
#[tokio::test]
async fn a_refresh_without_grace_ends_what_listens_by_the_old_token() {
    let policy = json!({"lifetimes": {
        "authorizationCode": "10m", "accessToken": "1h", "refreshToken": "720h", "refreshGrace": "0s", "signIn": "8760h",
    }});
    let kit = Kit::with(|server| server["policy"] = policy).await;
    let client = kit.client_id();
    let (old, refresh) = kit.tokens_for("1", LIFE, |grant| grant.client_id.clone_from(&client)).await;
    let mut listening = listen(&kit, &old, &[PROGRESS]).await;
    assert_eq!(next(&mut listening).await.as_deref(), Some(PROGRESS));
    let asks = async || {
        let bearer = format!("Bearer {old}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        kit.open(Method::POST, &kit.url, &headers, tool_call().to_string()).await.into_body()
    };
    let mut waiting = asks().await;
    assert_eq!(next(&mut waiting).await.as_deref(), Some(PROGRESS));
    // One whose answer has not begun, and is not known to be under way yet.
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes) = (began.clone(), go.clone());
    kit.backend.answer_with(move |seen| {
        let (begins, goes) = (begins.clone(), goes.clone());
        let result = json!({"jsonrpc": "2.0", "id": seen.id(), "result": {}}).to_string();
        Box::pin(async move {
            begins.notify_one();
            goes.notified().await;
            json_of(Body::from(result))
        })
    });
    let renews = async {
        began.notified().await;
        let url = kit.gateway.server.urls.endpoint("/oauth/token");
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let body = format!("grant_type=refresh_token&client_id={client}&refresh_token={refresh}");
        let renewed = read(kit.open(Method::POST, &url, &form, body).await).await;
        assert_eq!(renewed.status, 200, "{renewed:?}");
        assert_eq!(next(&mut listening).await, None);
        assert_eq!(kit.call(&old).await.status, 401);
        until(async || kit.gateway.metrics.open_streams.get() == 2).await;
        go.notify_one();
        renewed.json()["access_token"].as_str().unwrap().to_owned()
    };
    let (answer, new) = tokio::join!(kit.call(&old), renews);
    assert_eq!(answer.status, 200, "it was under way: {answer:?}");
    assert!(futures::poll!(Box::pin(next(&mut waiting))).is_pending());
    let mut successors = listen(&kit, &new, &[PROGRESS]).await;
    assert_eq!(next(&mut successors).await.as_deref(), Some(PROGRESS));
    assert!(futures::poll!(Box::pin(next(&mut successors))).is_pending());
    // It does not wait for as long as the token would have lived.
    kit.clock.advance(Duration::from_secs(301));
    let told = next(&mut waiting).await;
    assert!(told.as_ref().is_some_and(|told| told.contains("-32050")), "{told:?}");
}

fn json_of(body: Body) -> Response {
    http::Response::builder().header("content-type", "application/json").body(body).unwrap()
}

/// Attack 107: many backends number their events, so that another user's are guessed.
#[tokio::test]
async fn resumption_reaches_the_backend_within_a_session_only() {
    let kit = Kit::start().await;
    let token = kit.sign_in("1").await;
    kit.backend.answer_with(|seen| {
        Box::pin(async move {
            let body = if seen.method == Method::POST {
                r#"{"jsonrpc":"2.0","id":0,"result":{}}"#.to_owned()
            } else {
                "id: 6\ndata: x\n\n".to_owned()
            };
            let kind = if seen.method == Method::POST { "application/json" } else { "text/event-stream" };
            let mut response = answer(200, kind, body).await;
            response.headers_mut().insert("mcp-session-id", "s-1".parse().unwrap());
            response
        })
    });
    let initialize = serde_json::json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}});
    let session = kit.post(&token, &initialize).await.header("mcp-session-id").to_owned();
    let answer = kit.send(Method::GET, &token, &[("last-event-id", "5"), ("mcp-session-id", &session)]).await;
    assert_eq!(answer.text, "id: 6\ndata: x\n\n");
    assert_eq!(kit.backend.seen()[1].header("last-event-id"), Some("5"));
    kit.send(Method::GET, &token, &[("last-event-id", "5")]).await;
    let modern = [
        ("last-event-id", "5"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "whoami"),
    ];
    let mut call = tool_call();
    call["params"]["_meta"] = serde_json::json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
    kit.post_with(&token, &modern, call.to_string()).await;
    for seen in &kit.backend.seen()[2..] {
        assert_eq!(seen.header("last-event-id"), None, "{seen:?}");
    }
    assert_eq!(kit.backend.seen().len(), 4);
}
