//! Client ID Metadata Documents (draft-ietf-oauth-client-id-metadata-document): a client id that is the https URL of a
//! document which describes the client.
//!
//! [`url`] says which URLs are such an id, [`document`] which documents are accepted, [`keys`] which keys of a client
//! that signs, and [`proofs`] who may ask for what that costs; [`cache`] when one is fetched, [`freshness`] how long it
//! counts.

pub mod cache;
pub mod document;
pub mod freshness;
mod kept;
pub mod keys;
mod proofs;
pub mod url;

pub use cache::{Documents, Signing};
pub use document::Document;
pub use keys::{KeySet, Mismatch};
pub use proofs::Signed;
pub use url::DocumentUrl;

use crate::oauth::{Failure, OAuthError};

/// Why a document makes no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is refused, in words for a person.
    #[error("{0}")]
    Refused(&'static str),
    /// Its host is away; trying again helps.
    #[error("{0}")]
    Away(&'static str),
    /// Its host may not be connected to. Nobody is told that it is not just away: strangers choose names, and must not
    /// learn which of them lead inside.
    #[error("{0}")]
    Inside(&'static str),
    /// Too many were asked for; trying again helps.
    #[error("too many client documents were asked for")]
    Busy(OAuthError),
}

impl From<DocumentError> for Failure {
    fn from(error: DocumentError) -> Self {
        match error {
            DocumentError::Refused(why) | DocumentError::Away(why) | DocumentError::Inside(why) => {
                Self::BadDocument(why)
            }
            DocumentError::Busy(error) => error.into(),
        }
    }
}
