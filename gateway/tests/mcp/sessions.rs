//! Sessions of the legacy era: sealed, bound to their user, pinned to their pod.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use gatehouse_gateway::mcp::pods::Directory;
use http::Method;
use serde_json::{Value, json};

use super::{
    backend::Backend,
    kit::{Kit, tool_call},
};

/// A DNS that tests write.
#[derive(Debug, Default)]
struct Pods(Mutex<Vec<SocketAddr>>);

#[async_trait]
impl Directory for Pods {
    async fn pods(&self, name: &str) -> Result<Vec<SocketAddr>, String> {
        assert_eq!(name, "_http._tcp.tools-pods.team-a.svc");
        Ok(self.0.lock().unwrap().clone())
    }
}

fn initialize() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25"}})
}

/// Opens a session at `initialize` and echoes it after that, as servers do.
fn keep_sessions(backend: &Backend, id: &'static str) {
    backend.answer_with(move |seen| {
        Box::pin(async move {
            let body = json!({"jsonrpc": "2.0", "id": seen.id(), "result": {}}).to_string();
            let response = http::Response::builder().header("content-type", "application/json");
            response.header("mcp-session-id", id).body(body.into()).unwrap()
        })
    });
}

/// Before a Service whose pods are these.
async fn before_pods(pods: &Arc<Pods>) -> Kit {
    let service = |server: &mut Value| {
        server["backends"][0]["target"] = json!({"service": {
            "url": "http://tools.team-a.svc:8080/mcp",
            "pods": {"host": "tools-pods.team-a.svc", "port": "http"}}});
    };
    Kit::build(service, Some(pods.clone())).await
}

async fn open_session(kit: &Kit, token: &str) -> String {
    let answer = kit.post(token, &initialize()).await;
    assert_eq!(answer.status, 200);
    answer.header("mcp-session-id").to_owned()
}

#[tokio::test]
async fn a_session_is_sealed_for_its_user() {
    let kit = Kit::start().await;
    keep_sessions(&kit.backend, "backend-session");
    let (alice, bob) = (kit.sign_in("1").await, kit.sign_in("2").await);
    let session = open_session(&kit, &alice).await;
    assert!(!session.is_empty() && !session.contains("backend-session"));

    let answer = kit.post_with(&alice, &[("mcp-session-id", &session)], tool_call().to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.header("mcp-session-id")), (200, session.as_str()));
    assert_eq!(kit.backend.seen().last().unwrap().header("mcp-session-id"), Some("backend-session"));

    let before = kit.backend.seen().len();
    let mut forged = session.clone();
    forged.replace_range(40..41, if &forged[40..41] == "A" { "B" } else { "A" });
    for (token, id) in
        [(&bob, session.as_str()), (&alice, &forged), (&alice, "backend-session"), (&alice, "%")]
    {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let answer = match method {
                Method::POST => {
                    kit.post_with(token, &[("mcp-session-id", id)], tool_call().to_string()).await
                }
                _ => kit.send(method.clone(), token, &[("mcp-session-id", id)]).await,
            };
            assert_eq!(answer.error(), (404, -32001), "{method} {id}");
        }
    }
    assert_eq!(kit.backend.seen().len(), before);
}

#[tokio::test]
async fn a_stale_session_does_not_stop_a_new_one() {
    let kit = Kit::start().await;
    keep_sessions(&kit.backend, "fresh");
    let token = kit.sign_in("1").await;
    let answer = kit.post_with(&token, &[("mcp-session-id", "stale")], initialize().to_string()).await;
    assert_eq!(answer.status, 200);
    assert_ne!(answer.header("mcp-session-id"), "");
    assert_eq!(kit.backend.only().header("mcp-session-id"), None);
}

#[tokio::test]
async fn the_modern_era_has_no_sessions() {
    let kit = Kit::start().await;
    keep_sessions(&kit.backend, "never");
    let token = kit.sign_in("1").await;
    let message = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
        "name": "whoami", "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}});
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "whoami"),
        ("mcp-session-id", "anything"),
    ];
    let answer = kit.post_with(&token, &headers, message.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.header("mcp-session-id")), (200, ""));
    let seen = kit.backend.only();
    assert_eq!((seen.header("mcp-session-id"), seen.header("mcp-name")), (None, Some("whoami")));
}

#[tokio::test]
async fn a_session_stays_on_its_pod_and_ends_with_it() {
    let (one, two) = (Backend::start().await, Backend::start().await);
    keep_sessions(&one, "same-id");
    keep_sessions(&two, "same-id");
    let pods = Arc::new(Pods(Mutex::new(vec![one.address, two.address])));
    let kit = before_pods(&pods).await;
    let token = kit.sign_in("1").await;
    // So many that chance does not choose one pod each time.
    for _ in 0..24 {
        let session = open_session(&kit, &token).await;
        let of = |backend: &Backend| backend.seen().len();
        let before = (of(&one), of(&two));
        for _ in 0..3 {
            let headers = [("mcp-session-id", session.as_str())];
            assert_eq!(kit.post_with(&token, &headers, tool_call().to_string()).await.status, 200);
        }
        let moved = (of(&one) - before.0, of(&two) - before.1);
        assert!(moved == (3, 0) || moved == (0, 3), "{moved:?}");
    }
    assert!(!one.seen().is_empty() && !two.seen().is_empty(), "new sessions are spread");
    assert_eq!(one.seen()[0].header("host"), Some("tools.team-a.svc:8080"));
    assert_eq!(one.seen()[0].path, "/mcp");

    // Its address may be another pod's by now: it is not dialled any more.
    let session = open_session(&kit, &token).await;
    pods.0.lock().unwrap().clear();
    kit.clock.advance(std::time::Duration::from_secs(3));
    let headers = [("mcp-session-id", session.as_str())];
    let before = one.seen().len() + two.seen().len();
    let answer = kit.post_with(&token, &headers, tool_call().to_string()).await;
    assert_eq!(answer.error(), (404, -32001));
    assert_eq!(kit.post(&token, &initialize()).await.status, 502, "no pod is ready");
    assert_eq!(one.seen().len() + two.seen().len(), before);
}

#[tokio::test]
async fn a_new_session_passes_over_a_pod_that_does_not_listen() {
    let alive = Backend::start().await;
    keep_sessions(&alive, "id");
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let pods = Arc::new(Pods(Mutex::new(vec![gone, alive.address])));
    let kit = before_pods(&pods).await;
    let token = kit.sign_in("1").await;
    for _ in 0..6 {
        open_session(&kit, &token).await;
    }
}

#[tokio::test]
async fn a_pod_that_the_dns_still_names_takes_its_sessions_with_it() {
    let pod = Backend::start().await;
    keep_sessions(&pod, "id");
    let pods = Arc::new(Pods(Mutex::new(vec![pod.address])));
    let kit = before_pods(&pods).await;
    let token = kit.sign_in("1").await;
    let session = open_session(&kit, &token).await;
    let headers = [("mcp-session-id", session.as_str())];
    assert_eq!(kit.post_with(&token, &headers, tool_call().to_string()).await.status, 200);
    pod.die().await;
    let answer = kit.post_with(&token, &headers, tool_call().to_string()).await;
    assert_eq!(answer.error(), (404, -32001), "the client initialises anew");
}
