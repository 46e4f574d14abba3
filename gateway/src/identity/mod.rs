//! How a user signs in: one provider kind per file.

mod connect;
#[cfg(test)]
pub(crate) mod fake;
pub mod local;
pub mod oauth2;
pub mod oidc;
mod token;
mod userinfo;

use std::time::Duration;

use async_trait::async_trait;

pub(crate) use connect::USER_AGENT;
pub use connect::{Setup, connect};

use crate::model::{Profile, Prompt, UpstreamTokens};

/// Where the browser is sent.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamRequest<'a> {
    /// The upstream `state`.
    pub state: &'a str,
    /// The PKCE S256 challenge.
    pub challenge: &'a str,
    /// The OIDC nonce.
    pub nonce: &'a str,
    /// The provider should not answer silently: the client asks so, or the user for another account or another try.
    pub prompt: Option<Prompt>,
}

/// What the identity provider's redirect brought, still unproven.
#[derive(Clone, Copy)]
pub struct UpstreamAnswer<'a> {
    /// The upstream code.
    pub code: &'a str,
    /// `iss` of the redirect (RFC 9207), if it had one.
    pub iss: Option<&'a str>,
    /// The PKCE verifier.
    pub verifier: &'a str,
    /// The nonce that an ID token must carry.
    pub nonce: &'a str,
}

/// A user who signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who.
    pub profile: Profile,
    /// What the provider gave for calls; a local user may have none.
    pub tokens: Option<UpstreamTokens>,
}

/// Why the identity provider's answer is not a sign-in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdentityError {
    /// It says no for good: the code, token or user is refused. Nothing that it wrote is in the message.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    /// What it said cannot be trusted: wrong issuer, audience, signature or shape.
    #[error("the identity provider's answer is not valid: {0}")]
    Invalid(String),
    /// What the browser brought belongs to another provider or sign-in: `iss` or the code. Anybody can write that into a
    /// link, so the provider is not at fault.
    #[error("the answer is not of this sign-in: {0}")]
    Foreign(String),
    /// It cannot be reached, is slow, or fails; trying again later may help.
    #[error("the identity provider is not available: {0}")]
    Unavailable(String),
    /// It has nowhere to ask: what a renewal brings is all that is known.
    #[error("the identity provider has no user-info endpoint")]
    NoUserInfo,
    /// Our own configuration: a missing secret, a refused destination.
    #[error("sign-in is not configured: {0}")]
    Misconfigured(String),
}

/// An identity provider that the browser is redirected to.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// The URL of the provider's sign-in.
    async fn authorization_url(&self, request: UpstreamRequest<'_>) -> Result<url::Url, IdentityError>;
    /// Redeems the provider's code and learns who signed in.
    async fn exchange(&self, answer: UpstreamAnswer<'_>) -> Result<SignedIn, IdentityError>;
    /// Does what a refresh needs and may take time (discovery), so that the refresh itself is one request.
    async fn ready(&self) -> Result<(), IdentityError> {
        Ok(())
    }
    /// Asks who the tokens belong to now. `Refused` means that the access token is dead, or belongs to somebody else
    /// than `known`; `NoUserInfo` that only a renewal can tell. What the provider tells at sign-in only (groups in an ID token) is kept from `known`.
    async fn profile(&self, tokens: &UpstreamTokens, known: &Profile) -> Result<Profile, IdentityError>;
    /// Renews the tokens. A refresh token that is not given again stays the old one.
    async fn refresh(&self, tokens: &UpstreamTokens, known: &Profile) -> Result<Renewed, RenewError>;
}

/// Renewed tokens.
#[derive(Debug, Clone)]
pub struct Renewed {
    /// The tokens to store.
    pub tokens: UpstreamTokens,
    /// Who they belong to, when the answer said so (an ID token).
    pub profile: Option<Profile>,
}

/// Why there are no new tokens. What may be tried again differs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenewError {
    /// For good: the refresh token is dead (`invalid_grant`).
    #[error("refused: {0}")]
    Refused(String),
    /// Not now: at most one attempt before this time is over.
    #[error("rate-limited for {0:?}")]
    RateLimited(Duration),
    /// It failed and changed nothing: no connection, or an error that says so.
    #[error("not available: {0}")]
    Transient(String),
    /// It may have been processed: no answer, a broken one, or one that cannot be read.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// Our own configuration: the client or its secret is refused, or cannot refresh these tokens.
    #[error("not configured: {0}")]
    Misconfigured(String),
}
