//! What can go wrong on a page; [`page`] says it to a person.

mod page;

use std::time::Duration;

use axum::response::Response;

use super::{OAuthError, params};
use crate::{
    audit::{Decision, Event},
    keys::OpenError,
    server::Server,
    store::StoreError,
};

/// Why a page is not what the user came for. Nothing here is a redirect: neither client nor address may be proven.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The link is incomplete, changed or cut.
    BadLink,
    /// The link is longer than anything that is read.
    LongLink,
    /// The client id is not one of this server's, or too old.
    UnknownClient,
    /// The redirect URI is not the client's, or not allowed.
    BadRedirect(&'static str),
    /// The document at the URL that is the client's id is not good.
    BadDocument(&'static str),
    /// No such flow any more.
    Expired,
    /// The flow was begun in another browser.
    OtherBrowser,
    /// Another site, or a prefetch, opened the link.
    NotByUser,
    /// A form of the account page is not its user's, or else malformed.
    AccountForm {
        /// Whether another site may have sent it.
        foreign: bool,
    },
    /// The sign-in is over.
    Over(Over),
    /// The identity provider did not sign the user in.
    TryAgain(Box<TryAgain>),
    /// The user signed in and may not use the server.
    NotAllowed(Box<NotAllowed>),
    /// What the browser sends did not arrive in time.
    TimedOut,
    /// Too many requests.
    TooMany(Duration),
    /// The store is away.
    Unavailable(Duration),
}

/// How a sign-in ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The client has what came of it.
    Finished,
    /// As [`Self::Finished`], and the user wanted to cancel it.
    TooLate,
    /// Nothing is left of it: the client did not come for its code, or it was disconnected since.
    Lapsed,
    /// The user said no.
    Declined,
}

/// What a failed sign-in at the provider offers.
#[derive(Debug, Clone)]
pub struct TryAgain {
    /// What happened, in our words.
    pub why: String,
    /// Whether the provider or we are at fault, not the user.
    pub outage: bool,
    /// The link that starts the next attempt; `None`: there were as many as a sign-in has.
    pub again: Option<String>,
    /// The client's name, and the link that tells it.
    pub give_up: (String, String),
}

/// What a user reads who may not use the server.
#[derive(Debug, Clone)]
pub struct NotAllowed {
    /// Who they are.
    pub who: String,
    /// The immutable subject, which an administrator can put into `access`.
    pub subject: String,
    /// What the identity provider did not tell, when it depends on that.
    pub withheld: Option<String>,
    /// The link that signs in as somebody else, as [`TryAgain::again`].
    pub other_account: Option<String>,
    /// The client's name, and the link that tells it.
    pub give_up: (String, String),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        OAuthError::from(error).into()
    }
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        match error {
            OAuthError::TooManyRequests { retry_after } => Self::TooMany(retry_after),
            OAuthError::Unavailable { retry_after } => Self::Unavailable(retry_after),
            OAuthError::TooLarge => Self::LongLink,
            OAuthError::TimedOut => Self::TimedOut,
            _ => Self::BadLink,
        }
    }
}

impl From<OpenError> for Failure {
    /// Of a client id.
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::UnknownKey => OAuthError::KEY_NOT_READ.into(),
            OpenError::Invalid => Self::UnknownClient,
        }
    }
}

impl From<params::Malformed> for Failure {
    fn from(_: params::Malformed) -> Self {
        Self::BadLink
    }
}

impl From<params::Repeated> for Failure {
    fn from(_: params::Repeated) -> Self {
        Self::BadLink
    }
}

impl Failure {
    /// The page, and the audit event of the decision that fell before it. Without a reason of its own nothing was
    /// decided here, or what was decided is told already.
    pub(super) fn answer(self, server: &Server, event: &mut Event) -> Response {
        if let Some(reason) = self.reason() {
            if matches!(self, Self::TooMany(_)) && event.decision() == Decision::SignInFailed {
                event.decide(Decision::SignInThrottled);
            }
            server.audit.write(event.because(reason));
        }
        self.page(server)
    }

    /// The word for the audit trail.
    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::BadLink | Self::AccountForm { foreign: false } => Some("bad_link"),
            Self::LongLink => Some("too_long"),
            Self::UnknownClient => Some("unknown_client"),
            Self::BadRedirect(_) => Some("redirect_uri"),
            Self::BadDocument(_) => Some("client_document"),
            Self::Expired => Some("expired"),
            Self::OtherBrowser => Some("other_browser"),
            Self::NotByUser | Self::AccountForm { foreign: true } => Some("not_by_user"),
            Self::TimedOut => Some("timed_out"),
            Self::TooMany(_) => Some("too_many_requests"),
            Self::Unavailable(_) => Some("temporarily_unavailable"),
            Self::Over(_) | Self::TryAgain(_) | Self::NotAllowed(_) => None,
        }
    }
}
