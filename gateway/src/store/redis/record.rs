//! Reading and authenticating records. What grants something carries an HMAC over its key's name and its immutable
//! part; with a wrong one it is as absent, for another holder of a shared Redis user may have written it.

use serde::{Serialize, de::DeserializeOwned};

use super::{RedisStore, script::Reply};
use crate::{
    keys::{Mac32, Ring, Sealed},
    model::{
        AttemptId, CredentialRecord, Flow, FlowId, FlowState, Grant, GrantId, Hash32, Session, UserId,
        UserRecord,
    },
    store::{UserUpdate, keys},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use gatehouse_gateway_config::denial::RECORD_LABEL as LABEL;

impl RedisStore {
    /// The MAC of a record that is written.
    pub(super) fn mac(&self, key: &str, parts: &[&[u8]]) -> String {
        self.with_parts(key, parts, |parts| text_of(&self.keys.mac(Ring::Record, LABEL, parts)))
    }

    /// Every MAC that the record may carry, one for each listed key, for a script to compare.
    pub(super) fn macs(&self, key: &str, parts: &[&[u8]]) -> String {
        self.with_parts(key, parts, |parts| {
            let macs: Vec<String> = self.keys.macs(Ring::Record, LABEL, parts).iter().map(text_of).collect();
            macs.join(" ")
        })
    }

    /// Whether a record that was read is authentic.
    pub(super) fn authentic(&self, key: &str, parts: &[&[u8]], mac: Option<&str>) -> bool {
        mac.and_then(mac_of).is_some_and(|mac| {
            self.with_parts(key, parts, |parts| self.keys.verify(Ring::Record, LABEL, parts, &mac))
        })
    }

    fn with_parts<T>(&self, key: &str, parts: &[&[u8]], with: impl FnOnce(&[&[u8]]) -> T) -> T {
        let all: Vec<&[u8]> =
            [self.prefix.as_bytes(), key.as_bytes()].into_iter().chain(parts.iter().copied()).collect();
        with(&all)
    }

    /// A JSON record and its MAC.
    pub(super) fn json<T: DeserializeOwned>(
        &self,
        key: &str,
        text: Option<String>,
        mac: Option<&str>,
    ) -> Option<T> {
        let text = text.filter(|text| self.authentic(key, &[text.as_bytes()], mac))?;
        serde_json::from_str(&text).ok()
    }

    /// The JSON of a record and its MAC, for writing.
    pub(super) fn sealed_json(&self, key: &str, value: &impl Serialize) -> (String, String) {
        #[expect(clippy::expect_used, reason = "plain structs of strings and numbers")]
        let text = serde_json::to_string(value).expect("JSON");
        let mac = self.mac(key, &[text.as_bytes()]);
        (text, mac)
    }

    /// A user's fields and their MAC, for writing.
    pub(super) fn user_args(&self, update: &UserUpdate) -> (String, String, String) {
        let (key, profile) = (keys::user(&update.id), update.profile.to_text());
        let mac = self.mac(&key, &[update.identity.as_bytes(), profile.as_bytes()]);
        (key, profile, mac)
    }

    /// `pin` as it is stored, and its MAC.
    pub(super) fn pin_args(&self, flow: &FlowId, user: &UserId, session: &Hash32) -> (String, String) {
        let pin = format!("{user} {session}");
        let mac = self.mac(&keys::flow(flow), &[b"pin", pin.as_bytes()]);
        (pin, mac)
    }

    /// Reads what `flow_fields` in the prelude returns.
    pub(super) fn read_flow(&self, id: &FlowId, reply: &mut Reply) -> Option<Flow> {
        let key = keys::flow(id);
        let (text, mac, at) = (reply.text(), reply.text(), reply.text()?);
        let request = self.json(&key, text, mac.as_deref())?;
        let (attempt, claimed) = (reply.number::<u32>(), reply.text());
        let (pin, pin_mac) = (reply.text(), reply.text());
        let (redirect, code) = (reply.text(), reply.text());
        let pinned = match pin {
            None => None,
            // A pin says who consents: a forged one makes the whole flow as absent.
            Some(pin) if self.authentic(&key, &[b"pin", pin.as_bytes()], pin_mac.as_deref()) => {
                let (user, session) = pin.split_once(' ')?;
                Some((UserId::parse(user)?, Hash32::parse(session)?))
            }
            Some(_) => return None,
        };
        let state = match at.as_str() {
            "pending" => FlowState::Pending { pinned },
            "approved" => FlowState::Approved { attempt: attempt?, claimed: claimed? != "0", pinned },
            "done" => FlowState::Done {
                sealed_redirect: redirect?,
                code: Hash32::parse(code?.strip_prefix(keys::CODE)?)?,
            },
            "denied" => FlowState::Denied,
            _ => return None,
        };
        Some(Flow { request, state })
    }

    /// Reads a grant's content and MAC.
    pub(super) fn read_grant(&self, id: &GrantId, reply: &mut Reply) -> Option<Grant> {
        let (text, mac) = (reply.text(), reply.text());
        self.json::<Grant>(&keys::grant(id), text, mac.as_deref()).filter(|grant| grant.id == *id)
    }

    /// Reads what `user_fields` in the prelude returns.
    pub(super) fn read_user(&self, id: &UserId, reply: &mut Reply) -> Option<UserRecord> {
        let (identity, profile, mac) = (reply.text()?, reply.text()?, reply.text());
        let (state, checked_ago) = (reply.text()?, reply.millis()?);
        let parts = [identity.as_bytes(), profile.as_bytes()];
        if !self.authentic(&keys::user(id), &parts, mac.as_deref()) {
            return None;
        }
        let profile = Sealed::from_text(&profile)?;
        Some(UserRecord {
            id: *id,
            identity,
            profile,
            state: serde_json::from_str(&state).ok()?,
            checked_ago,
        })
    }

    /// Reads a session's content and MAC.
    pub(super) fn read_session(&self, id: &Hash32, reply: &mut Reply) -> Option<Session> {
        let (text, mac) = (reply.text(), reply.text());
        self.json(&keys::session(id), text, mac.as_deref())
    }
}

/// Reads what `credential_fields` in the prelude returns. The value is sealed for its place, so it needs no MAC.
pub(super) fn read_credential(reply: &mut Reply) -> Option<CredentialRecord> {
    let (version, sealed, attempt) = (reply.number(), reply.bytes(), reply.text());
    Some(CredentialRecord {
        version: version?,
        sealed: Sealed::from_bytes(sealed?),
        attempt: attempt.and_then(|text| AttemptId::parse(&text)),
    })
}

fn text_of(mac: &Mac32) -> String {
    format!("{}.{}", mac.kid, URL_SAFE_NO_PAD.encode(mac.tag))
}

fn mac_of(text: &str) -> Option<Mac32> {
    let (kid, tag) = text.split_once('.')?;
    let tag = <[u8; 32]>::try_from(URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
    Some(Mac32 { kid: kid.parse().ok()?, tag })
}
