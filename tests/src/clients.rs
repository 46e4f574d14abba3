//! Real MCP clients, unpatched, each in a home of its own with a browser in which one user sits.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{dev::beside, opened::Opened, process::Process, tls::ca};

/// A client that a script drives: it connects, signs in, and then calls the tools it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// `@modelcontextprotocol/sdk`, legacy era.
    TypeScript1,
    /// `@modelcontextprotocol/client`, both eras.
    TypeScript2,
    /// PyPI `mcp`, both eras.
    Python,
    /// `mcp-remote` under the TypeScript SDK's stdio client.
    McpRemote,
}

impl Sdk {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TypeScript1, Self::TypeScript2, Self::Python, Self::McpRemote];
}

/// A signed-in client.
#[derive(Debug)]
pub struct Session {
    process: Process,
    answers: usize,
    /// The protocol version it negotiated.
    pub protocol: String,
    /// The tools it was shown.
    pub tools: Vec<String>,
    sdk: Sdk,
    url: String,
    home: Home,
}

/// The answer to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The first text of the result.
    pub text: String,
    /// Whether the result is a tool error.
    pub is_error: bool,
    /// What the client threw instead of a result.
    pub error: String,
    /// How often it has opened the browser so far.
    pub sign_ins: u64,
}

impl Session {
    /// Starts a client of `user` on an MCP URL and waits until it is connected.
    ///
    /// # Panics
    /// When it does not get there; the message holds everything it said.
    pub async fn connect(sdk: Sdk, url: &str, user: &str) -> Self {
        Self::connect_with(sdk, url, user, &[]).await
    }

    /// [`Session::connect`], where `home` says who sits at the browser.
    pub async fn connect_at(sdk: Sdk, url: &str, home: Home) -> Self {
        Self::start(sdk, url, home, &[]).await
    }

    /// [`Session::connect`] with more environment variables.
    pub async fn connect_with(sdk: Sdk, url: &str, user: &str, environment: &[(&str, &str)]) -> Self {
        Self::start(sdk, url, Home::of(user), environment).await
    }

    /// Starts it again, in the same home: what it keeps on disk, it finds.
    pub async fn restart(mut self) -> Self {
        self.process.kill().await;
        Self::start(self.sdk, &self.url, self.home, &[]).await
    }

    async fn start(sdk: Sdk, url: &str, home: Home, environment: &[(&str, &str)]) -> Self {
        let mut command = match sdk {
            Sdk::Python => Command::new(python()),
            _ => Command::new(node()),
        };
        command.arg(directory().join(match sdk {
            Sdk::TypeScript1 => "ts_v1.mjs",
            Sdk::TypeScript2 => "ts_v2.mjs",
            Sdk::Python => "python_sdk.py",
            Sdk::McpRemote => "mcp_remote.mjs",
        }));
        home.enter(&mut command);
        command.arg(url).envs(environment.iter().copied());
        let mut process = Process::start(command);
        let hello = process.line(0).await;
        let hello: Value = serde_json::from_str(&hello).unwrap_or_else(|e| panic!("{hello}: {e}"));
        let tools = hello["tools"].as_array().into_iter().flatten().filter_map(Value::as_str);
        Self {
            answers: 1,
            protocol: hello["protocol"].as_str().unwrap_or_default().to_owned(),
            tools: tools.map(str::to_owned).collect(),
            process,
            sdk,
            url: url.to_owned(),
            home,
        }
    }

    /// Calls a tool.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> Answer {
        self.command(&json!({ "tool": tool, "arguments": arguments })).await
    }

    /// The host signs its user in for the scopes that the last refusal named.
    pub async fn step_up(&mut self) -> Answer {
        self.command(&json!({ "stepUp": true })).await
    }

    async fn command(&mut self, command: &Value) -> Answer {
        self.process.write_line(&command.to_string()).await;
        let line = self.process.line(self.answers).await;
        self.answers += 1;
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let text = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
        Answer {
            text: text("text"),
            is_error: answer["isError"].as_bool().unwrap_or_default(),
            error: text("error"),
            sign_ins: answer["signIns"].as_u64().unwrap_or_default(),
        }
    }

    /// Whom the backend takes the caller for.
    ///
    /// # Panics
    /// When the call fails.
    pub async fn whoami(&mut self) -> String {
        let answer = self.call("whoami", json!({})).await;
        assert!(!answer.is_error && answer.error.is_empty(), "{answer:?}\n{}", self.process.output());
        answer.text
    }

    /// Ends it as a host does: by closing its input.
    pub async fn close(mut self) {
        let status = self.process.wait().await;
        assert!(status.success(), "{status}:\n{}", self.process.output());
    }

    /// What it wrote.
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// Claude Code without an account: it signs in to an MCP server, connects and lists.
#[derive(Debug)]
pub struct ClaudeCode {
    home: Home,
}

impl ClaudeCode {
    /// One in which `url` is configured as the server `gw`.
    pub async fn with(url: &str, user: &str) -> Self {
        Self::at(url, Home::of(user)).await
    }

    /// The same, where `home` says who sits at the browser.
    pub async fn at(url: &str, home: Home) -> Self {
        let this = Self { home };
        this.run(&["mcp", "add", "--transport", "http", "gw", url]).await;
        this
    }

    /// `claude mcp login gw`, on a terminal.
    pub async fn login(&self) -> String {
        let mut command = Command::new("script");
        let line = format!("{} mcp login gw", claude().display());
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        self.finish(command).await
    }

    /// `claude mcp list`, which connects to every server.
    pub async fn list(&self) -> String {
        self.run(&["mcp", "list"]).await
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(claude());
        command.args(arguments);
        self.finish(command).await
    }

    async fn finish(&self, mut command: Command) -> String {
        self.home.enter(&mut command);
        // Nothing but the MCP server is asked for anything.
        command.env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1").env("DISABLE_AUTOUPDATER", "1");
        let mut process = Process::start(command);
        let status = process.wait().await;
        assert!(status.success(), "{status}:\n{}", process.output());
        process.output()
    }
}

/// The command line of the MCP Inspector. Each call is a process of its own, which finds at home what the one before kept.
/// Its callback has a fixed port, so one of them signs in at a time.
#[derive(Debug)]
pub struct Inspector {
    home: Home,
    url: String,
}

impl Inspector {
    /// One that has never heard of `url`.
    pub fn of(url: &str, user: &str) -> Self {
        Self { home: Home::of(user), url: url.to_owned() }
    }

    /// Calls a tool without arguments, after a sign-in where it finds that it needs one.
    pub async fn call(&self, tool: &str) -> Answer {
        let mut command =
            script("node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js");
        command.args(["--cli", &self.url, "--transport", "http", "--protocol-era", "auto"]);
        command.args(["--format", "json", "--method", "tools/call", "--tool-name", tool]);
        self.home.enter(&mut command);
        // Nobody is at a terminal, and no desktop keeps secrets.
        command.env("MCP_AUTO_OPEN_ENABLED", "true").env("MCP_INSPECTOR_SECRET_STORE", "file");
        let mut process = Process::start(command);
        process.wait().await;
        let said = process.stdout();
        let said: Value = said.lines().rev().find_map(|l| serde_json::from_str(l).ok()).unwrap_or_default();
        let result = &said["result"];
        Answer {
            text: result["content"][0]["text"].as_str().unwrap_or_default().to_owned(),
            is_error: result["isError"].as_bool().unwrap_or_default(),
            error: if result.is_object() { String::new() } else { process.output() },
            sign_ins: 0,
        }
    }
}

/// A home directory, a directory that comes first in `PATH` and holds the user's browser as `xdg-open`, and the CA that is
/// trusted in it.
#[derive(Debug)]
pub struct Home {
    directory: TempDir,
    user: String,
}

impl Home {
    /// A fresh one.
    pub fn of(user: &str) -> Self {
        let this = Self::empty(user);
        let browse = beside("browse", "cargo build --package e2e --bins");
        symlink(browse, this.browser()).expect("the directory is ours");
        this
    }

    /// A fresh one whose browser is elsewhere: what is to be opened there.
    pub fn without_browser() -> (Self, Opened) {
        let this = Self::empty("nobody");
        let opened = Opened::by(&this.browser(), this.directory.path().join("opened"));
        (this, opened)
    }

    fn empty(user: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("bin")).expect("the directory is ours");
        std::fs::write(directory.path().join("ca.pem"), ca()).expect("the directory is ours");
        Self { directory, user: user.to_owned() }
    }

    fn browser(&self) -> PathBuf {
        self.directory.path().join("bin/xdg-open")
    }

    /// Makes a command run in it.
    pub fn enter(&self, command: &mut Command) {
        let bin = self.directory.path().join("bin");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        command
            .current_dir(self.directory.path())
            .env("HOME", self.directory.path())
            .env("XDG_CONFIG_HOME", self.directory.path().join(".config"))
            .env("PATH", path)
            .env("BROWSER", self.browser())
            .env("BROWSE_USER", &self.user)
            .env("DISPLAY", ":0")
            // Node and Claude Code, OpenSSL and `browse`.
            .env("NODE_EXTRA_CA_CERTS", self.directory.path().join("ca.pem"))
            .env("SSL_CERT_FILE", self.directory.path().join("ca.pem"))
            // No desktop files: `xdg-open` would find a browser that is installed before it looks at BROWSER.
            .env("XDG_DATA_HOME", self.directory.path().join("share"))
            .env("XDG_DATA_DIRS", self.directory.path().join("share"))
            // A proxy of the machine would be asked for loopback by some clients.
            .env("NO_PROXY", "*")
            .env("no_proxy", "*");
    }
}

/// A script of `tests/clients`, run by Node.
pub fn script(name: &str) -> Command {
    let mut command = Command::new(node());
    command.arg(directory().join(name));
    command
}

/// The official conformance suite of MCP.
pub fn conformance() -> Command {
    let mut command = script("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    // A proxy of the machine would be asked for loopback.
    command.env("NO_PROXY", "*").env("no_proxy", "*");
    command
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

fn node() -> PathBuf {
    directory().join(".venv/bin/node")
}

fn python() -> PathBuf {
    directory().join(".venv/bin/python")
}

fn claude() -> PathBuf {
    directory().join("node_modules/@anthropic-ai/claude-code-linux-x64/claude")
}
