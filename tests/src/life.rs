//! The life of a signed-in client: what it takes to go on after each thing that can happen to it.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::{
    clients::{ClaudeCode, Sdk, Session},
    profiles::{Profile, Scripted},
    rmcp_client::Rmcp,
    tap::Tap,
};

/// How often a user tries before they start the client anew.
const PATIENCE: usize = 3;
/// How long a host of the Rust SDK waits for an answer. The SDK itself waits for ever, also for one that cannot come.
const HOST_WAITS: Duration = Duration::from_secs(5);

/// A client of alice's.
#[derive(Debug)]
pub enum Live {
    /// One that a script drives.
    Sdk(Option<Session>),
    /// The Rust SDK.
    Rust(Option<Rmcp>, String),
    /// Claude Code, which connects and lists but calls nothing without an account.
    Claude(ClaudeCode),
    /// A script in the place of one that cannot be had.
    Scripted(Scripted),
}

/// What it took to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Nobody noticed.
    None,
    /// The user signed in once more; the client opened the browser by itself.
    SignIn,
    /// The user told the client to sign in, or started it again, and signed in once more.
    Restart,
}

impl Effort {
    /// For the table.
    pub fn text(self) -> &'static str {
        match self {
            Self::None => "by itself",
            Self::SignIn => "a new sign-in",
            Self::Restart => "a new sign-in, begun by hand",
        }
    }
}

impl Live {
    /// Signs in a scripted SDK.
    pub async fn sdk(sdk: Sdk, url: &str) -> Self {
        Self::Sdk(Some(Session::connect(sdk, url, "alice").await))
    }

    /// Signs in the Rust SDK.
    pub async fn rust(url: &str) -> Self {
        Self::Rust(Some(Rmcp::connect(url, "alice").await), url.to_owned())
    }

    /// Signs in Claude Code.
    pub async fn claude(url: &str) -> Self {
        let claude = ClaudeCode::with(url, "alice").await;
        claude.login().await;
        Self::Claude(claude)
    }

    /// Signs in a script.
    pub async fn scripted(profile: &'static Profile, url: &str) -> Self {
        let mut scripted = Scripted::new(profile, url, "alice");
        assert_eq!(scripted.whoami().await, "alice");
        Self::Scripted(scripted)
    }

    /// Whether one call works, as alice's.
    pub async fn works(&mut self) -> bool {
        match self {
            Self::Sdk(session) => {
                let answer = session.as_mut().unwrap().call("whoami", json!({})).await;
                answer.error.is_empty() && !answer.is_error && answer.text == "alice"
            }
            Self::Rust(client, _) => {
                let asked = timeout(HOST_WAITS, client.as_ref().unwrap().try_whoami()).await;
                asked.is_ok_and(|answer| answer.is_ok_and(|who| who == "alice"))
            }
            Self::Claude(claude) => claude.list().await.contains("Connected"),
            Self::Scripted(scripted) => {
                let answer = scripted.call("whoami", json!({})).await;
                answer.json()["result"]["content"][0]["text"] == "alice"
            }
        }
    }

    /// What a user does whose client does not go on: signs in by hand, or starts it again.
    async fn again(&mut self) {
        match self {
            Self::Sdk(session) => *session = Some(session.take().unwrap().restart().await),
            Self::Rust(client, url) => *client = Some(Rmcp::connect(url, "alice").await),
            Self::Claude(claude) => {
                claude.login().await;
            }
            Self::Scripted(_) => panic!("a script does what the client does by itself"),
        }
    }

    /// Goes on, with as little effort as it takes; `before` is how many codes had been redeemed before what happened to it.
    ///
    /// What counts is codes redeemed, not tabs opened: mcp-remote opens a tab for each message that is refused while its
    /// user is still signing in, and uses one of them. A sign-in that mends nothing shows as a second code.
    ///
    /// # Panics
    /// When not even a restart with one sign-in helps.
    pub async fn go_on(&mut self, tap: &Tap, before: usize) -> Effort {
        for _ in 0..PATIENCE {
            if self.works().await {
                return match tap.redeemed() - before {
                    0 => Effort::None,
                    1 => Effort::SignIn,
                    more => panic!("{more} sign-ins for one: {self:?}\n{:#?}", tap.summary()),
                };
            }
        }
        let before = tap.redeemed();
        self.again().await;
        assert!(self.works().await, "it does not work after a restart: {self:?}");
        assert_eq!(tap.redeemed() - before, 1, "sign-ins upon sign-ins: {self:?}\n{:#?}", tap.summary());
        Effort::Restart
    }
}
