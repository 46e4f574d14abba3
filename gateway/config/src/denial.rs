//! The one record that the operator writes and gateways read: `access.deny` as it was last edited. It reaches gateways
//! that still run with an older configuration, whose pods a roll-out may take minutes to replace.
//!
//! It is authenticated under the `record` ring, so another holder of a shared Redis user cannot forge one, and it
//! carries the generation of its edit, so that such a holder cannot put an older one back unnoticed. It only ever
//! denies: what a gateway's own configuration denies stays denied.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{AccessRule, keys::Keyring, mac};

/// The record's name under the server's key prefix.
pub const KEY: &str = "deny";
/// What an event of the server's `events` says when the record changed.
pub const EVENT: &str = "deny";
/// The label of the sub-key that authenticates records.
pub const RECORD_LABEL: &str = "store-record";
/// The longest record, in bytes. A longer list takes effect with the roll-out.
pub const MAX_LEN: usize = 64 * 1024;

/// `access.deny` as of one edit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The generation of the McpServer that says so: later edits have higher ones.
    pub generation: i64,
    /// Who may not use the server.
    pub rules: Vec<AccessRule>,
}

/// A denial as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedDenial {
    /// The JSON of the [`Denial`].
    pub text: String,
    /// `<key id>.<HMAC>`, over the server's key prefix, the record's name and the text.
    pub mac: String,
    /// Whether it denies nobody: such a one need not be written where there was none.
    pub is_empty: bool,
}

impl Denial {
    /// Seals it at `now` (seconds since 1970); `None` when it is too long.
    pub fn seal(&self, ring: &Keyring, prefix: &str, now: i64) -> Option<SealedDenial> {
        let text = serde_json::to_string(self).ok().filter(|text| text.len() <= MAX_LEN)?;
        let key = ring.sealing_record(now)?;
        let tag =
            mac::hmac(key.key.expose(), RECORD_LABEL, &[prefix.as_bytes(), KEY.as_bytes(), text.as_bytes()]);
        let mac = format!("{}.{}", key.id, URL_SAFE_NO_PAD.encode(tag));
        Some(SealedDenial { text, mac, is_empty: self.rules.is_empty() })
    }
}
