//! MCP sessions on any replica (protocols, section 9): the id that a client holds says, sealed, which session of which
//! backend it is, whose, and on which pod it lives. Nothing is stored.

use std::net::SocketAddr;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::{
    keys::{Ring, Sealed},
    model::UserId,
    server::Server,
};

const LABEL: &str = "mcp-session";
/// The longest session id of a backend, in bytes; ours is about a third longer.
const MAX_BACKEND_ID: usize = 1024;

/// What a session id stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    /// The backend's own id.
    #[serde(rename = "i")]
    pub id: String,
    /// The backend's name.
    #[serde(rename = "b")]
    pub backend: String,
    /// The pod that keeps the session; `None`: the backend is one address.
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    pub pod: Option<SocketAddr>,
}

impl Session {
    /// The session that a backend has just opened; `None` when its id is not one (MCP: visible ASCII).
    pub(super) fn opened(id: &HeaderValue, backend: &str, pod: Option<SocketAddr>) -> Option<Self> {
        let id = id.to_str().ok().filter(|id| !id.is_empty() && id.len() <= MAX_BACKEND_ID)?;
        Some(Self { id: id.to_owned(), backend: backend.to_owned(), pod })
    }

    /// What the client gets: readable by this server alone, usable by this user alone.
    pub(super) fn seal(&self, server: &Server, user: &UserId) -> Option<HeaderValue> {
        let plain = serde_json::to_vec(self).ok()?;
        let place = place(server, user);
        let parts = [place.0.as_bytes(), place.1];
        let sealed = server.keys.seal(server.entropy.as_ref(), Ring::Session, LABEL, &parts, &plain);
        HeaderValue::from_str(&sealed.to_text()).ok()
    }

    /// Reads what a client presents; `None` when it is not this user's session here.
    pub(super) fn open(server: &Server, user: &UserId, presented: &HeaderValue) -> Option<Self> {
        let text = presented.to_str().ok().filter(|text| text.len() <= 2 * MAX_BACKEND_ID + 1024)?;
        let place = place(server, user);
        let parts = [place.0.as_bytes(), place.1];
        let plain = server.keys.open(Ring::Session, LABEL, &parts, &Sealed::from_text(text)?).ok()?;
        serde_json::from_slice(&plain).ok()
    }

    /// The backend's own id, for the request to it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.id).ok()
    }
}

fn place<'a>(server: &Server, user: &'a UserId) -> (String, &'a [u8]) {
    (server.keys.instance(), user.as_bytes())
}
