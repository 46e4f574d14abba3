//! What a call carries upstream, and keeping it alive.

mod attempt;
mod check;
mod custody;
mod refresh;
mod sealing;
pub mod standing;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use gatehouse_gateway_config::BackendConfig;
use http::{HeaderName, HeaderValue};

pub use custody::{Custody, CustodyParts};
pub use sealing::{open_profile, open_tokens, seal_profile, seal_sign_in, seal_tokens};

use crate::{
    model::{UserId, UserRecord},
    store::{CallRecord, StoreError},
};

/// Why a call cannot carry its credentials.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CredentialError {
    /// The user must sign in again. The message is the sentence that the user reads, for example "Your GitHub session
    /// expired, please sign in again."
    #[error("{0}")]
    SessionExpired(String),
    /// For now it cannot be had; trying again helps.
    #[error("a credential is not available: {reason}")]
    Unavailable {
        /// For the log.
        reason: String,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// Our own configuration: the Secret of a static credential is missing, or the identity gives no token.
    #[error("a credential is not configured: {0}")]
    Misconfigured(String),
}

impl From<StoreError> for CredentialError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { reason: error.to_string(), retry_after: Duration::from_secs(2) }
    }
}

/// What asking the identity provider about a user said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// The identity lives; profile and date are stored.
    Live,
    /// It is dead, and the store says so. The sentence that the user reads.
    Dead(String),
    /// The provider cannot be asked; the last good check is still tolerated.
    Tolerated,
    /// The provider cannot be asked, and the last good check is too old: answer 503.
    Unavailable,
}

/// The custody of upstream credentials for one server.
#[async_trait]
pub trait Credentials: Send + Sync + std::fmt::Debug {
    /// The headers that a call to this backend carries: each user's own. Refreshes what is near its end.
    async fn headers(
        &self,
        call: &CallRecord,
        backend: &BackendConfig,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, CredentialError>;
    /// The re-check at refresh (protocols, section 2).
    async fn recheck(&self, user: &UserRecord) -> Check;
    /// A backend answered that the user's token is dead: asks the provider, at most once a minute and user.
    async fn confirm(&self, user: &UserId) -> Check;
    /// "Your GitHub session expired, please sign in again."
    fn expired_sentence(&self) -> String;
}
