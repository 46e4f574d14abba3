//! One sign-in under way, from `/oauth/authorize` to the code.

use serde::{Deserialize, Serialize};

use super::{FlowId, FlowState, Hash32};

/// What a sign-in is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowKind {
    /// A client gets a code.
    #[default]
    Authorize,
    /// The user's own page, `/account`: there is no client, and no code can come of it.
    Account,
}

impl FlowKind {
    fn is_authorize(&self) -> bool {
        *self == Self::Authorize
    }
}

/// How a client asks the identity provider to treat the user (`prompt` of OIDC Core section 3.1.2.1), as far as it is
/// passed on: consent is asked for in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Sign in anew.
    Login,
    /// Offer another account.
    SelectAccount,
}

impl Prompt {
    /// Reads a space-separated list, of which the strictest counts.
    pub fn parse(list: &str) -> Option<Self> {
        let named = |name| list.split(' ').any(|value| value == name);
        let select = named("select_account").then_some(Self::SelectAccount);
        if named("login") { Some(Self::Login) } else { select }
    }
}

/// What the client asked for, proven and complete. Immutable, under the record's MAC: what a link says later changes
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRequest {
    /// The flow.
    pub id: FlowId,
    /// What it is for. What concerns a client is empty where there is none.
    #[serde(default, skip_serializing_if = "FlowKind::is_authorize")]
    pub kind: FlowKind,
    /// The client.
    pub client_id: String,
    /// Its name.
    pub client_name: String,
    /// Where the code goes; one that was proven to be the client's.
    pub redirect_uri: String,
    /// The request left it out: it is the only one that the client registered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redirect_uri_implied: bool,
    /// The client proves itself by assertions that it signs, as its document said at the authorization request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_assertion: bool,
    /// The digest of the client's document, if it has one: what the user approves is the application as it was then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Hash32>,
    /// The client's `state`, echoed byte for byte.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<String>,
    /// How the client asks the identity provider to treat the user.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prompt: Option<Prompt>,
    /// The scope that will be granted, space-separated.
    pub scope: String,
    /// The resource.
    pub resource: String,
    /// The PKCE S256 challenge (RFC 7636).
    pub challenge: String,
    /// The hash of the flow's cookie: consent, approval and callback come from one browser.
    pub cookie: Hash32,
    /// The hash of the nonce in the consent page's links.
    pub nonce: Hash32,
}

impl FlowRequest {
    /// A sign-in to the user's own page, which no client began.
    pub fn account(id: FlowId, resource: &str, cookie: Hash32, nonce: Hash32) -> Self {
        Self {
            id,
            kind: FlowKind::Account,
            client_id: String::new(),
            client_name: String::new(),
            redirect_uri: String::new(),
            redirect_uri_implied: false,
            by_assertion: false,
            document: None,
            state: None,
            prompt: None,
            scope: String::new(),
            resource: resource.to_owned(),
            challenge: String::new(),
            cookie,
            nonce,
        }
    }
}

/// A flow as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// What was asked.
    pub request: FlowRequest,
    /// Where it stands.
    pub state: FlowState,
}
