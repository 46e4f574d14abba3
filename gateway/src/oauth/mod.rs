//! The authorization server: one endpoint per file, in the order of a sign-in.
//!
//! [`metadata`] → [`register`] → [`authorize`] (→ [`signin`] with `identity.local`) → consent → [`approve`] (→ the
//! identity provider → [`callback`]) → [`finish`] → [`token`] → [`revoke`]. [`error`] alone maps errors to the RFCs' codes, and
//! [`failure`] alone says them to people.

pub mod account;
mod admission;
pub mod approve;
pub mod assertion;
pub mod authorize;
pub mod callback;
pub mod client_auth;
pub mod client_credentials;
pub mod clients;
pub mod consent;
pub mod cookies;
mod entitlement;
pub mod error;
pub mod exchanges;
pub mod failure;
pub mod finish;
pub mod guard;
mod guesses;
mod known;
pub mod limits;
pub mod metadata;
pub mod params;
mod redeem;
pub mod redirect;
pub mod refresh;
pub mod register;
pub mod revoke;
pub mod session;
pub mod signin;
pub mod source;
pub mod token;
pub mod upstream;

pub use error::OAuthError;
pub use failure::Failure;

/// The longest body that any of the endpoints reads.
pub const MAX_BODY: usize = 64 * 1024;
