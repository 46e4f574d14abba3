//! A real browser without a window, which does what W3C WebDriver says: Chromium through chromedriver, Firefox by
//! Marionette, which has the same commands under other names.

mod chromium;
mod firefox;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::{chromium::Chromium, firefox::Firefox};
use crate::{net::eventually, oauth::REDIRECT_URI, opened::Opened};

/// The key of an element's reference (W3C WebDriver section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// The one host outside of loopback that the browsers find: on loopback, with a certificate of the test's own.
pub const WEB_HOST: &str = "c1.test";

/// Keys (W3C WebDriver section 17.4.2).
pub const TAB: char = '\u{E004}';
/// As [`TAB`].
pub const ENTER: char = '\u{E007}';

/// Which browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Chromium.
    Chromium,
    /// Firefox.
    Firefox,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
        })
    }
}

/// A running browser with a fresh profile.
#[derive(Debug)]
pub struct WebDriver {
    driver: Driver,
    kind: Kind,
    applications: Opened,
    _files: Files,
}

#[derive(Debug)]
enum Driver {
    Chromium(Chromium),
    Firefox(Firefox),
}

/// What a browser has on disk.
#[derive(Debug)]
struct Files(TempDir);

impl WebDriver {
    /// Starts one.
    pub async fn start(kind: Kind) -> Self {
        Self::trusting(kind, &[]).await
    }

    /// Starts one in which pages of these origins may open the application whose scheme is that of [`REDIRECT_URI`]:
    /// without a window nobody could be asked. Firefox lets every page.
    pub async fn trusting(kind: Kind, origins: &[&str]) -> Self {
        let files = Files::create();
        let applications = Opened::by(&files.opener(), files.home().join("opened"));
        let driver = match kind {
            Kind::Chromium => Driver::Chromium(Chromium::start(&files, origins).await),
            Kind::Firefox => Driver::Firefox(Firefox::start(&files).await),
        };
        Self { driver, kind, applications, _files: files }
    }

    /// Which browser it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Types an address.
    pub async fn open(&self, url: &str) {
        self.command("Navigate", json!({ "url": url })).await;
    }

    /// The address it is at.
    pub async fn url(&self) -> String {
        text(&self.command("GetCurrentURL", json!({})).await)
    }

    /// The text that is seen.
    pub async fn text(&self) -> String {
        text(&self.run("return document.body ? document.body.innerText : ''").await)
    }

    /// Types into the field that `selector` (CSS) names.
    pub async fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.command("ElementSendKeys", json!({ "id": element, "text": text })).await;
    }

    /// Presses a key where the focus is.
    pub async fn press(&self, key: char) {
        let focused = self.command("GetActiveElement", json!({})).await;
        self.command("ElementSendKeys", json!({ "id": focused[ELEMENT], "text": key.to_string() })).await;
    }

    /// Clicks what `selector` (CSS) names.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.command("ElementClick", json!({ "id": element })).await;
    }

    /// Waits until something on the page matches `selector` (CSS).
    pub async fn wait_for(&self, selector: &str) {
        self.element(selector).await;
    }

    /// Waits until the page says `text`.
    pub async fn reads(&self, text: &str) {
        eventually(&format!("{text:?} on the page"), async || self.text().await.contains(text).then_some(()))
            .await;
    }

    /// Goes back, as the user's Back button does.
    pub async fn back(&self) {
        self.command("Back", json!({})).await;
    }

    /// Goes forward, as the user's Forward button does.
    pub async fn forward(&self) {
        self.command("Forward", json!({})).await;
    }

    /// Goes on in the window that is not this one: in what a page opened, or where it was opened.
    pub async fn to_other_window(&self) {
        let here = self.command("GetWindowHandle", json!({})).await;
        let other = eventually("another window", async || {
            let all = self.command("GetWindowHandles", json!({})).await;
            all.as_array().into_iter().flatten().find(|window| **window != here).cloned()
        })
        .await;
        self.command("SwitchToWindow", json!({ "handle": other })).await;
    }

    /// Loads the page again, as the user's Reload button does.
    pub async fn reload(&self) {
        self.command("Refresh", json!({})).await;
    }

    /// What a function body gives that runs in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.command("ExecuteScript", json!({ "script": script, "args": [] })).await
    }

    /// Shows pages as on a screen this wide, light or dark.
    pub async fn screen(&self, width: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        match &self.driver {
            Driver::Chromium(chromium) => chromium.screen(width, scheme).await,
            Driver::Firefox(firefox) => firefox.screen(width, scheme).await,
        }
    }

    /// Keeps a picture of the page in the target directory.
    pub async fn picture(&self, name: &str) {
        let image = text(&self.command("TakeScreenshot", json!({ "full": false })).await);
        let image = STANDARD.decode(image).expect("base64");
        let test = std::env::current_exe().expect("a test knows its program");
        let target = test.ancestors().nth(3).unwrap_or(Path::new("."));
        let directory = target.join("tests/pictures");
        fs::create_dir_all(&directory).expect("the target directory can be written to");
        fs::write(directory.join(format!("{}-{name}.png", self.kind)), image).expect("the same");
    }

    /// What a Content-Security-Policy forbade since it was last asked, in the words of the browser's console.
    pub async fn forbidden(&self) -> Vec<String> {
        let complaints = match &self.driver {
            Driver::Chromium(chromium) => chromium.complaints().await,
            Driver::Firefox(firefox) => firefox.complaints().await,
        };
        let about =
            |c: &String| c.contains("Content Security Policy") || c.contains("Content-Security-Policy");
        complaints.into_iter().filter(about).collect()
    }

    /// The cookies that it has for the page (W3C WebDriver section 14).
    pub async fn cookies(&self) -> Vec<Value> {
        let cookies = self.command("GetCookies", json!({})).await;
        cookies.as_array().unwrap_or_else(|| panic!("no list: {cookies}")).clone()
    }

    /// The addresses for which the application was started, oldest first.
    pub fn applications(&self) -> Vec<String> {
        self.applications.all()
    }

    async fn element(&self, selector: &str) -> String {
        eventually(&format!("{selector} on the page"), async || {
            let query = json!({ "using": "css selector", "value": selector });
            let found = self.send("FindElement", query).await;
            found[ELEMENT].as_str().map(str::to_owned)
        })
        .await
    }

    async fn command(&self, name: &str, parameters: Value) -> Value {
        let value = self.send(name, parameters).await;
        assert!(value["error"].is_null(), "{name}: {value}");
        value
    }

    async fn send(&self, name: &str, parameters: Value) -> Value {
        match &self.driver {
            Driver::Chromium(chromium) => chromium.send(name, &parameters).await,
            Driver::Firefox(firefox) => firefox.send(&format!("WebDriver:{name}"), &parameters).await,
        }
    }
}

impl Files {
    fn create() -> Self {
        let this = Self(TempDir::new().expect("a temporary directory"));
        fs::create_dir(this.0.path().join("bin")).expect("the directory is ours");
        fs::create_dir(this.profile()).expect("the directory is ours");
        this
    }

    fn home(&self) -> &Path {
        self.0.path()
    }

    fn profile(&self) -> PathBuf {
        self.0.path().join("profile")
    }

    /// The application, under the name of the program by which Chromium starts any.
    fn opener(&self) -> PathBuf {
        self.0.path().join("bin/xdg-open")
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The scheme of the application.
fn scheme() -> &'static str {
    REDIRECT_URI.split_once(':').expect("it is a URL").0
}
