//! Chromium through chromedriver.

use std::{collections::HashMap, time::Duration};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Files, WEB_HOST, scheme, text};
use crate::{
    net::{eventually, free_port, http},
    process::Process,
};

#[derive(Debug)]
pub(super) struct Chromium {
    http: Client,
    session: String,
    _driver: Process,
}

impl Chromium {
    pub(super) async fn start(files: &Files, origins: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        let bin = files.home().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        command.arg(format!("--port={port}")).env("HOME", files.home()).env("PATH", path);
        let driver = Process::start(command);
        let http = http();
        let origin = format!("http://127.0.0.1:{port}");
        eventually("chromedriver to listen", async || http.get(format!("{origin}/status")).send().await.ok())
            .await;
        let pairs: HashMap<&str, Value> = origins.iter().map(|o| (*o, json!({ scheme(): true }))).collect();
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "acceptInsecureCerts": true,
            "goog:chromeOptions": {
                "args": [
                    // The suites run as root in a namespace of their own, where Chromium's sandbox cannot be built.
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                    "--window-size=900,900", format!("--user-data-dir={}", files.profile().display()),
                    format!("--host-resolver-rules=MAP {WEB_HOST} 127.0.0.1"),
                ],
                "prefs": { "protocol_handler": { "allowed_origin_protocol_pairs": pairs } },
            },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let answer = http.post(format!("{origin}/session")).json(&capabilities).send().await;
        let answer: Value = answer.expect("chromedriver answers").json().await.expect("it answers with JSON");
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        Self { session: format!("{origin}/session/{id}"), http, _driver: driver }
    }

    /// What a command gives, or an object with its `error`.
    pub(super) async fn send(&self, name: &str, parameters: &Value) -> Value {
        let element = parameters["id"].as_str().unwrap_or_default();
        let (method, path) = match name {
            "Navigate" => (Method::POST, "/url".to_owned()),
            "GetCurrentURL" => (Method::GET, "/url".to_owned()),
            "ExecuteScript" => (Method::POST, "/execute/sync".to_owned()),
            "GetCookies" => (Method::GET, "/cookie".to_owned()),
            "FindElement" => (Method::POST, "/element".to_owned()),
            "GetActiveElement" => (Method::GET, "/element/active".to_owned()),
            "ElementSendKeys" => (Method::POST, format!("/element/{element}/value")),
            "ElementClick" => (Method::POST, format!("/element/{element}/click")),
            "Back" => (Method::POST, "/back".to_owned()),
            "Forward" => (Method::POST, "/forward".to_owned()),
            "GetWindowHandle" => (Method::GET, "/window".to_owned()),
            "GetWindowHandles" => (Method::GET, "/window/handles".to_owned()),
            "SwitchToWindow" => (Method::POST, "/window".to_owned()),
            "Refresh" => (Method::POST, "/refresh".to_owned()),
            "TakeScreenshot" => (Method::GET, "/screenshot".to_owned()),
            _ => panic!("{name} is no command that chromedriver is asked for"),
        };
        self.ask(method, &path, parameters).await
    }

    pub(super) async fn screen(&self, width: u32, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// What the console complained about: blocked by a policy, broken, missing.
    pub(super) async fn complaints(&self) -> Vec<String> {
        let entries = self.ask(Method::POST, "/se/log", &json!({ "type": "browser" })).await;
        assert!(entries.is_array(), "the console's log: {entries}");
        entries.as_array().into_iter().flatten().map(|entry| text(&entry["message"])).collect()
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        let answer = self.ask(Method::POST, "/goog/cdp/execute", &body).await;
        assert!(answer["error"].is_null(), "{command}: {answer}");
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Value {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.session));
        if method == Method::POST {
            request = request.json(body);
        }
        let answer = request.timeout(Duration::from_secs(90)).send().await.expect("chromedriver answers");
        let answer: Value = answer.json().await.expect("it answers with JSON");
        answer["value"].clone()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // chromedriver ends its browser when it is asked to, not when it is killed.
        let session = self.session.clone();
        let _ = std::process::Command::new("curl").args(["-s", "-X", "DELETE", &session]).output();
    }
}
