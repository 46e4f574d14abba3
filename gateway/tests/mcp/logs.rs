//! The audit trail: one event a call, and no secret in any line of the log.

use std::{
    io::Write,
    sync::{Arc, Mutex, OnceLock},
};

use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::kit::{Kit, until};

/// Every line that this process logs.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// The log of the process, from the first test that asks on.
    pub(crate) fn of_process() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let start = || {
            let log = Log::default();
            let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_writer(log.clone());
            subscriber.with_max_level(tracing::Level::TRACE).init();
            log
        };
        LOG.get_or_init(start).clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn call(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": tool, "arguments": {"text": "canary-argument"}}})
}

#[tokio::test]
async fn each_call_is_one_event_without_arguments_or_secrets() {
    let log = Log::of_process();
    let kit = Kit::with(|server| server["access"]["deny"] = json!([{"subjects": ["2"]}])).await;
    let (alice, bob) = (kit.sign_in("1").await, kit.sign_in("2").await);
    let tool = "canary\n{\"tool\":\"forged\"}\u{1b}[2J";
    kit.backend.answer(200, "application/json", r#"{"jsonrpc":"2.0","id":1,"result":"canary-result"}"#);
    assert_eq!(kit.post(&alice, &call(tool)).await.status, 200);
    assert_eq!(kit.post(&bob, &call(tool)).await.status, 403);
    let url = format!("{}?access_token=canary-query", kit.url);
    assert_eq!(kit.open(http::Method::GET, &url, &[], "").await.status(), 401);

    assert_eq!(kit.post("canary-token", &call(tool)).await.status, 401);

    until(async || kit.trail.with("tool", tool).len() >= 2).await;
    let events = kit.trail.with("tool", tool);
    let told: Vec<_> = events
        .iter()
        .map(|e| (e["user"].clone(), e["outcome"].clone(), e["reason"].clone(), e["status"].clone()))
        .collect();
    let user = |subject| json!(kit.user(subject).to_string());
    assert_eq!(
        told,
        [
            (user("1"), json!("ok"), Value::Null, json!(200)),
            (user("2"), json!("denied"), json!("access_denied"), json!(403))
        ]
    );
    assert!(events.iter().all(|e| e["client"] == "test client" && e["duration_us"].is_u64()));
    assert!(events.iter().all(|e| e["target"] == "audit" && e["server"] == "team-a/tools"));
    assert!(events.iter().all(|e| e["source"] == "127.0.0.1"));
    // A call without a token is no decision, one with a bad token is.
    let refused = kit.trail.with("event", "bearer");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!((&refused[0]["outcome"], &refused[0]["source"]), (&json!("refused"), &json!("127.0.0.1")));
    let text = log.text() + &kit.trail.text();
    for secret in
        ["canary-argument", "canary-result", "canary-query", "upstream-1", "shared-key", &alice, &bob]
    {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(!text.contains('\u{1b}'));
}
