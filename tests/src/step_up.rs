//! Step-up: a signed-in client calls a tool for which its user has not granted enough.

use http::StatusCode;
use serde_json::json;

use crate::{
    life::Live,
    oauth::challenge_parameter,
    profiles::Challenged,
    tap::{Heard, Tap},
};

/// What it took to make the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepUp {
    /// The client opened the browser by itself.
    SignIn,
    /// The client told its host, which began the sign-in.
    Host,
    /// The client tried a refresh, which brings no scope, and its host had to drop the tokens to begin the sign-in.
    HostDropsTokens,
    /// Nothing that the client offers its user helps.
    Never,
    /// What the client does is not public; one that does what the specification says signs its user in.
    Unknown,
    /// Claude Code calls nothing without an account.
    NotSeen,
}

impl StepUp {
    /// For the table.
    pub fn text(self) -> &'static str {
        match self {
            Self::SignIn => "a new sign-in",
            Self::Host => "a new sign-in, begun by its host",
            Self::HostDropsTokens => "a new sign-in, once its host drops the tokens",
            Self::Never => "never: it asks for its first scopes again",
            Self::Unknown => "not known",
            Self::NotSeen => "not seen: it calls no tool without an account",
        }
    }
}

/// What the challenge must name: all that the call needs and all that the client has.
const NEEDED: &str = "read write publish";

impl Live {
    /// Writes to alice's project, for which she must grant more than she did at first.
    ///
    /// # Panics
    /// When it takes more than one sign-in, or loses what the client could do before.
    pub async fn step_up(&mut self, tap: &Tap) -> StepUp {
        let before = tap.redeemed();
        let mut taken = self.by_itself();
        let mut written = self.writes().await;
        if !written {
            taken = self.begin().await;
            written = self.writes().await;
        }
        if taken == StepUp::NotSeen {
            return taken;
        }
        let challenges = challenges(tap);
        assert!(!challenges.is_empty(), "it was asked for more: {:#?}", tap.summary());
        for challenge in &challenges {
            assert_eq!(challenge_parameter(challenge, "scope"), NEEDED, "{challenge}");
            assert!(challenge.contains("resource_metadata=\""), "{challenge}");
        }
        assert_eq!(written, taken != StepUp::Never, "{taken:?} {self:?}\n{:#?}", tap.summary());
        assert_eq!(tap.redeemed() - before, 1, "one sign-in: {self:?}\n{:#?}", tap.summary());
        // The first call, and a refresh or a reconnection that brought nothing.
        assert!(challenges.len() <= 2, "it went on asking: {:#?}", tap.summary());
        assert!(self.works().await, "what it could do before, it still can: {self:?}");
        taken
    }

    /// What it is called when a client manages without its host.
    fn by_itself(&self) -> StepUp {
        match self {
            Self::Claude(_) => StepUp::NotSeen,
            Self::Scripted(scripted) if scripted.challenged() == Challenged::Unknown => StepUp::Unknown,
            _ => StepUp::SignIn,
        }
    }

    /// Whether one call that needs more works.
    async fn writes(&mut self) -> bool {
        let (project, written) = (json!({ "project": "alice/notes" }), "alice wrote to alice/notes");
        match self {
            Self::Sdk(session) => {
                let answer = session.as_mut().unwrap().call("write", project).await;
                let works = answer.error.is_empty() && answer.text == written;
                if !works {
                    eprintln!("a call that needs more: {answer:?}");
                }
                works
            }
            Self::Rust(client, _) => {
                let result = client.as_ref().unwrap().call("write", &project).await;
                result.is_ok_and(|r| r["content"][0]["text"] == written)
            }
            Self::Claude(_) => false,
            Self::Scripted(scripted) => {
                let answer = scripted.call("write", project).await;
                answer.json()["result"]["content"][0]["text"] == written
            }
        }
    }

    /// What is left to the host, or to the user, when the client itself does not go on.
    async fn begin(&mut self) -> StepUp {
        match self {
            Self::Sdk(session) => {
                let stepped = session.as_mut().unwrap().step_up().await;
                assert!(stepped.error.is_empty(), "{stepped:?}");
                StepUp::HostDropsTokens
            }
            Self::Rust(client, _) => {
                let client = client.as_ref().unwrap();
                let refused = client.call("write", &json!({ "project": "alice/notes" })).await.unwrap_err();
                client.step_up(refused.auth_challenge().expect("the SDK passes it on")).await;
                StepUp::Host
            }
            Self::Claude(_) => StepUp::NotSeen,
            Self::Scripted(scripted) => {
                scripted.reconnect().await;
                StepUp::Never
            }
        }
    }
}

/// The challenges of calls for which the token was not enough.
fn challenges(tap: &Tap) -> Vec<String> {
    let challenge = |heard: Heard| {
        let challenge = heard.headers.get("www-authenticate")?.to_str().ok()?.to_owned();
        let more = challenge_parameter(&challenge, "error") == "insufficient_scope";
        (heard.status == StatusCode::FORBIDDEN && more).then_some(challenge)
    };
    tap.heard("POST /mcp").into_iter().filter_map(challenge).collect()
}
