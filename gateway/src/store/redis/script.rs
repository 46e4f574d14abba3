//! The steps as Lua scripts: one each, sent by digest and loaded when Redis does not know it.

use std::{fmt::Write, sync::LazyLock};

use gatehouse_gateway_config::denial;
use redis::{Cmd, Value};

use super::super::{StoreError, keys};
use crate::model::{IdentityState, family::REPLAY_GRACE, flow_state::ATTEMPTS};

/// One script.
#[derive(Debug)]
pub(super) struct Script {
    text: String,
    digest: String,
}

macro_rules! scripts {
    ($($name:ident $file:literal)*) => {$(
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("lua/", $file, ".lua"))));
    )*};
}

scripts! {
    ACCOUNT "account"
    ADMIT "admit"
    APPROVE "approve"
    CALL "call"
    CLAIM_CALLBACK "claim_callback"
    CODE_STANDING "code_standing"
    COMPLETE "complete"
    CREATE_FLOW "create_flow"
    CREDENTIAL "credential"
    DENY "deny"
    END_SESSION "end_session"
    END_SESSIONS "end_sessions"
    END_SIGN_INS "end_sign_ins"
    GRANT_ROBOT "grant_robot"
    HIT "hit"
    LEASE "lease"
    NEXT_ATTEMPT "next_attempt"
    PIN "pin"
    PURGE_USER "purge_user"
    REDEEM "redeem"
    REFUSE_IDENTITY "refuse_identity"
    RELEASE "release"
    REVOKE "revoke"
    REVOKE_FOR_CLIENT "revoke_for_client"
    REVOKE_FOR_USER "revoke_for_user"
    ROTATE "rotate"
    SET_STATE "set_state"
    SIGN_IN "sign_in"
    SIGN_IN_AT_PROVIDER "sign_in_at_provider"
    STORE_CREDENTIAL "store_credential"
    USER "user"
    USERS "users"
    USER_CHECKED "user_checked"
}

impl Script {
    fn new(body: &str) -> Self {
        let prelude = include_str!("lua/prelude.lua");
        // Every answer tells the time, see `timed`.
        let text = format!(
            "{}{prelude}\nlocal function step()\n{body}\nend\nreturn {{ int(NOW), step() }}\n",
            constants()
        );
        let digest = redis::Script::new(&text).get_hash().to_owned();
        Self { text, digest }
    }

    /// The script for the server with this key prefix; its arguments are to be added.
    pub(super) fn step(&'static self, prefix: &str) -> Step {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.digest).arg(1).arg(prefix);
        Step { script: self, cmd }
    }

    /// `SCRIPT LOAD`.
    pub(super) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(&self.text);
        cmd
    }
}

/// A script with its arguments.
pub(super) struct Step {
    pub(super) script: &'static Script,
    pub(super) cmd: Cmd,
}

impl Step {
    pub(super) fn arg(mut self, arg: impl redis::ToRedisArgs) -> Self {
        self.cmd.arg(arg);
        self
    }

    /// An optional argument: nothing, or `=` and the value.
    pub(super) fn optional(self, arg: Option<&[u8]>) -> Self {
        match arg {
            None => self.arg(""),
            Some(value) => self.arg([b"=", value].concat()),
        }
    }
}

/// A user's state as it is stored.
pub(super) fn state_text(state: &IdentityState) -> String {
    #[expect(clippy::expect_used, reason = "an enum of strings and a boolean")]
    serde_json::to_string(state).expect("JSON")
}

/// What the scripts know of `keys.rs`.
fn constants() -> String {
    let mut text = String::new();
    let names = [
        ("GRANT", keys::GRANT.to_owned()),
        ("USER", keys::USER.to_owned()),
        ("CREDENTIAL", keys::CREDENTIAL.to_owned()),
        ("USERS", keys::USERS.to_owned()),
        ("EVENTS", keys::EVENTS.to_owned()),
        ("DENIAL", denial::KEY.to_owned()),
        ("GRANTS_OF", keys::GRANTS_OF.to_owned()),
        ("SESSIONS_OF", keys::SESSIONS_OF.to_owned()),
        ("CREDENTIALS_OF", keys::CREDENTIALS_OF.to_owned()),
        ("CONSENTS_OF", keys::CONSENTS_OF.to_owned()),
        ("CLIENTS_OF", keys::CLIENTS_OF.to_owned()),
        ("LIVE", state_text(&IdentityState::Live)),
    ];
    let numbers = [
        ("USER_LIFE", keys::USER_LIFE.as_millis()),
        ("CREDENTIAL_LIFE", keys::CREDENTIAL_LIFE.as_millis()),
        ("ATTEMPTS", u128::from(ATTEMPTS)),
        ("FLOW_LIVES", u128::from(keys::FLOW_LIVES)),
        ("CONSENT_LIFE", keys::CONSENT_LIFE.as_millis()),
        ("SPENT_CODE_LIFE", keys::SPENT_CODE_LIFE.as_millis()),
        ("SPENT_ASSERTION_LIFE", keys::SPENT_ASSERTION_LIFE.as_millis()),
        ("REPLAY_GRACE", REPLAY_GRACE.as_millis()),
        ("EVENTS_LIFE", keys::EVENTS_LIFE.as_millis()),
        ("EVENTS_KEPT", keys::EVENTS_KEPT as u128),
        ("GRANTS_KEPT", keys::GRANTS_KEPT as u128),
        ("SESSIONS_KEPT", keys::SESSIONS_KEPT as u128),
        ("CONSENTS_KEPT", keys::CONSENTS_KEPT as u128),
        ("CLIENTS_KEPT", keys::CLIENTS_KEPT as u128),
        ("ROBOT_GRANTS_KEPT", keys::ROBOT_GRANTS_KEPT as u128),
        ("BATCH", keys::BATCH as u128),
        ("DAY", 24 * 3600 * 1000),
        ("MINUTE", 60 * 1000),
    ];
    // Writing to a String cannot fail.
    for (name, value) in names {
        let _ = writeln!(text, "local {name} = '{value}'");
    }
    for (name, value) in numbers {
        let _ = writeln!(text, "local {name} = {value}");
    }
    text
}

/// The time at which a script ran, in milliseconds since 1970, and what it answered.
pub(super) fn timed(answer: Value) -> Result<(i64, Reply), StoreError> {
    let mut outer = Reply::of(answer)?;
    let now = outer.number().ok_or_else(unexpected)?;
    Ok((now, Reply::of(outer.0.next().ok_or_else(unexpected)?)?))
}

/// What a script answered: a tag, or fields, in order.
#[derive(Debug)]
pub(super) struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    /// The fields of an array.
    pub(super) fn of(value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Array(fields) => Ok(Self(fields.into_iter())),
            _ => Err(unexpected()),
        }
    }

    /// The next field's bytes; `None` when there is none, or it is nil.
    pub(super) fn bytes(&mut self) -> Option<Vec<u8>> {
        match self.0.next()? {
            Value::BulkString(bytes) => Some(bytes),
            Value::SimpleString(text) => Some(text.into_bytes()),
            Value::Int(number) => Some(number.to_string().into_bytes()),
            _ => None,
        }
    }

    /// The next field as text.
    pub(super) fn text(&mut self) -> Option<String> {
        self.bytes().and_then(|bytes| String::from_utf8(bytes).ok())
    }

    /// The next field as a number.
    pub(super) fn number<T: std::str::FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    /// The next field as milliseconds.
    pub(super) fn millis(&mut self) -> Option<std::time::Duration> {
        self.number().map(std::time::Duration::from_millis)
    }

    /// The tag that says what happened.
    pub(super) fn tag(&mut self) -> Result<String, StoreError> {
        self.text().ok_or_else(unexpected)
    }

    /// Whether the tag is `yes`.
    pub(super) fn yes(mut self) -> Result<bool, StoreError> {
        Ok(self.tag()? == "yes")
    }
}

/// An answer that none of our scripts gives.
pub(super) fn unexpected() -> StoreError {
    StoreError::Unavailable("Redis gave an answer that no step of ours gives".to_owned())
}

/// A duration as scripts take it. Saturates; lives are far below.
pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
