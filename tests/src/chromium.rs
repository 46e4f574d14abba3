//! Chromium without a window, driven through chromedriver (W3C WebDriver).

use std::{path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    net::{eventually, free_port, http},
    process::Process,
};

/// The key of an element's reference (W3C WebDriver section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A running browser with a fresh profile.
#[derive(Debug)]
pub struct Chromium {
    http: Client,
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Chromium {
    /// Starts one.
    pub async fn start() -> Self {
        let port = free_port();
        let profile = TempDir::new().expect("a temporary directory");
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", profile.path());
        let driver = Process::start(command);
        let http = http();
        let origin = format!("http://127.0.0.1:{port}");
        eventually("chromedriver to listen", async || http.get(format!("{origin}/status")).send().await.ok())
            .await;
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": [
                // The suites run as root in a namespace of their own, where Chromium's sandbox cannot be built.
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                "--window-size=900,900", format!("--user-data-dir={}", profile.path().join("profile").display()),
            ] },
            "goog:loggingPrefs": { "performance": "ALL", "browser": "ALL" },
        } } });
        let answer = http.post(format!("{origin}/session")).json(&capabilities).send().await;
        let answer: Value = answer.expect("chromedriver answers").json().await.expect("it answers with JSON");
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        Self { session: format!("{origin}/session/{id}"), http, _driver: driver, _profile: profile }
    }

    /// Types an address.
    pub async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// The address it is at.
    pub async fn url(&self) -> String {
        self.get("/url").await.as_str().unwrap_or_default().to_owned()
    }

    /// The text that is seen.
    pub async fn text(&self) -> String {
        let script = json!({ "script": "return document.body ? document.body.innerText : ''", "args": [] });
        self.post("/execute/sync", script).await.as_str().unwrap_or_default().to_owned()
    }

    /// Types into the field that `selector` (CSS) names.
    pub async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Clicks what `selector` (CSS) names.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Waits until something on the page matches `selector` (CSS).
    pub async fn wait_for(&self, selector: &str) {
        self.element(selector).await;
    }

    /// Goes back, as the user's Back button does.
    pub async fn back(&self) {
        self.post("/back", json!({})).await;
    }

    /// Loads the page again, as the user's Reload button does.
    pub async fn reload(&self) {
        self.post("/refresh", json!({})).await;
    }

    /// What a function body gives that runs in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Shows pages as on a screen this wide, light or dark.
    pub async fn screen(&self, width: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
        let metrics = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    async fn devtools(&self, command: &str, params: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params })).await;
    }

    /// Sets the size of the window.
    pub async fn resize(&self, width: u32, height: u32) {
        self.post("/window/rect", json!({ "width": width, "height": height })).await;
    }

    /// Keeps a picture of the page in the target directory.
    pub async fn picture(&self, name: &str) {
        let image = self.get("/screenshot").await;
        let image = STANDARD.decode(image.as_str().unwrap_or_default()).expect("base64");
        let test = std::env::current_exe().expect("a test knows its program");
        let target = test.ancestors().nth(3).unwrap_or(Path::new("."));
        let directory = target.join("tests/pictures");
        std::fs::create_dir_all(&directory).expect("the target directory can be written to");
        std::fs::write(directory.join(format!("{name}.png")), image).expect("the same");
    }

    /// Every `Location` that it was redirected to since it was last asked.
    pub async fn redirects(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "performance" })).await;
        let mut found = Vec::new();
        for entry in entries.as_array().into_iter().flatten() {
            let message: Value =
                serde_json::from_str(entry["message"].as_str().unwrap_or_default()).unwrap_or_default();
            let headers = &message["message"]["params"]["headers"];
            let location =
                headers.as_object().into_iter().flatten().find(|(n, _)| n.eq_ignore_ascii_case("location"));
            found.extend(location.and_then(|(_, v)| v.as_str()).map(str::to_owned));
        }
        found
    }

    /// What the console complained about: blocked by a policy, broken, missing.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        let entries = entries.as_array().into_iter().flatten();
        entries.map(|e| e["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn element(&self, selector: &str) -> String {
        let query = json!({ "using": "css selector", "value": selector });
        eventually(&format!("{selector} on the page"), async || {
            let found = self.send(Method::POST, "/element", Some(&query)).await;
            found[ELEMENT].as_str().map(str::to_owned)
        })
        .await
    }

    async fn get(&self, path: &str) -> Value {
        self.checked(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.checked(Method::POST, path, Some(&body)).await
    }

    async fn checked(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let value = self.send(method, path, body).await;
        assert!(value["error"].is_null(), "{path}: {value}");
        value
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let mut request = self.http.request(method, format!("{}{path}", self.session));
        if let Some(body) = body {
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
