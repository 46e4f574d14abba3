//! Firefox by Marionette, which it speaks itself: JSON arrays behind their length, `12:[0,1,"…",{}]`.

use std::fs;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
    sync::Mutex,
    time::timeout,
};

use super::{Files, WEB_HOST, scheme, text};
use crate::{
    net::{PATIENCE, eventually, free_port},
    process::Process,
};

/// What the console said since it was last asked.
const COMPLAINTS: &str = "
    const messages = Services.console.getMessageArray().map(entry => entry.message);
    Services.console.reset();
    return messages;";

#[derive(Debug)]
pub(super) struct Firefox {
    connection: Mutex<Connection>,
    _process: Process,
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<TcpStream>,
    sent: u32,
}

impl Firefox {
    pub(super) async fn start(files: &Files) -> Self {
        let port = free_port();
        let preferences = [
            ("marionette.port", json!(port)),
            ("network.dns.localDomains", json!(WEB_HOST)),
            ("security.external_protocol_requires_permission", json!(false)),
            (&format!("network.protocol-handler.external.{}", scheme()), json!(true)),
        ];
        let preferences = preferences.iter().map(|(name, value)| format!("user_pref({name:?}, {value});\n"));
        let handler = json!({ "action": 2, "handlers": [{ "name": "application", "path": files.opener() }] });
        let handlers =
            json!({ "defaultHandlersVersion": {}, "mimeTypes": {}, "schemes": { scheme(): handler } });
        let profile = files.profile();
        fs::write(profile.join("user.js"), preferences.collect::<String>()).expect("the directory is ours");
        fs::write(profile.join("handlers.json"), handlers.to_string()).expect("the directory is ours");
        let mut command = Command::new("firefox-esr");
        command
            .args(["--headless", "--no-remote", "--width=900", "--height=900", "--marionette"])
            // Its own console and the look of its window are out of a page's reach.
            .arg("--remote-allow-system-access")
            .arg("--profile")
            .arg(&profile)
            .env("HOME", files.home())
            // Who is root in a namespace of their own cannot build its sandbox there either, and it would wait for it.
            .env("MOZ_DISABLE_CONTENT_SANDBOX", "1")
            .env("MOZ_CRASHREPORTER_DISABLE", "1");
        let mut process = Process::start(command);
        let stream = eventually("Firefox to listen", async || {
            assert!(!process.has_ended(), "Firefox ended:\n{}", process.output());
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        let mut connection = Connection { stream: BufReader::new(stream), sent: 0 };
        let hello = connection.read().await;
        assert_eq!(hello["marionetteProtocol"], 3, "{hello}");
        let this = Self { connection: Mutex::new(connection), _process: process };
        this.checked("WebDriver:NewSession", &json!({ "acceptInsecureCerts": true })).await;
        this
    }

    /// What a command gives, or an object with its `error`.
    pub(super) async fn send(&self, name: &str, parameters: &Value) -> Value {
        let mut connection = self.connection.lock().await;
        let answer = timeout(PATIENCE, connection.ask(name, parameters)).await;
        answer.unwrap_or_else(|_| panic!("Firefox does not answer {name}"))
    }

    pub(super) async fn screen(&self, width: u32, scheme: &str) {
        let script = format!(
            "const page = gBrowser.selectedBrowser;
             page.browsingContext.prefersColorSchemeOverride = {scheme:?};
             page.style.maxWidth = '{width}px';"
        );
        self.run_in_window(&script).await;
        let narrow = json!({ "script": "return innerWidth", "args": [] });
        eventually(&format!("a page {width} pixels wide"), async || {
            (self.checked("WebDriver:ExecuteScript", &narrow).await == width).then_some(())
        })
        .await;
    }

    /// What the console complained about, besides the icon that it looks for by itself: no policy of ours allows any.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let messages = self.run_in_window(COMPLAINTS).await;
        let messages = messages.as_array().into_iter().flatten().map(text);
        messages.filter(|message| !message.contains("FaviconLoader")).collect()
    }

    /// Runs a function body in the browser's own window.
    async fn run_in_window(&self, script: &str) -> Value {
        self.checked("Marionette:SetContext", &json!({ "value": "chrome" })).await;
        let parameters = json!({ "script": script, "args": [] });
        let value = self.checked("WebDriver:ExecuteScript", &parameters).await;
        self.checked("Marionette:SetContext", &json!({ "value": "content" })).await;
        value
    }

    async fn checked(&self, name: &str, parameters: &Value) -> Value {
        let value = self.send(name, parameters).await;
        assert!(value["error"].is_null(), "{name}: {value}");
        value
    }
}

impl Connection {
    async fn ask(&mut self, name: &str, parameters: &Value) -> Value {
        self.sent += 1;
        let message = json!([0, self.sent, name, parameters]).to_string();
        let message = format!("{}:{message}", message.len());
        self.stream.write_all(message.as_bytes()).await.expect("Firefox reads");
        let answer = self.read().await;
        assert_eq!(answer[1], self.sent, "an answer to something else: {answer}");
        match (&answer[2], &answer[3]) {
            // A list is the answer itself.
            (Value::Null, list @ Value::Array(_)) => list.clone(),
            (Value::Null, object) => object["value"].clone(),
            (error, _) => error.clone(),
        }
    }

    async fn read(&mut self) -> Value {
        let mut length = Vec::new();
        self.stream.read_until(b':', &mut length).await.expect("Firefox writes");
        let length = String::from_utf8_lossy(&length);
        let length = length.trim_end_matches(':').parse().unwrap_or_else(|_| panic!("no length: {length:?}"));
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message).await.expect("Firefox writes");
        serde_json::from_slice(&message).expect("Firefox writes JSON")
    }
}
