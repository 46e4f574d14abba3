//! What can go wrong on a page, and the one place that says it to a person.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use super::{OAuthError, params};
use crate::{
    audit::{Decision, Event},
    keys::OpenError,
    server::Server,
    store::StoreError,
    web::{self, Link, MessagePage, Site, Tone},
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
    /// The sign-in is over, and the client has what came of it.
    Finished,
    /// As [`Self::Finished`], and the user wanted to cancel it.
    TooLate,
    /// The sign-in is over, and nothing is left of it: the client did not come for its code, or it was disconnected.
    Lapsed,
    /// The user said no before.
    Declined,
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

/// What a failed sign-in at the provider offers.
#[derive(Debug, Clone)]
pub struct TryAgain {
    /// What happened, in our words.
    pub why: String,
    /// Whether the provider or we are at fault, not the user.
    pub outage: bool,
    /// The link that starts the next attempt.
    pub again: String,
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
    /// The link that signs in as somebody else.
    pub other_account: String,
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
            Self::BadLink => Some("bad_link"),
            Self::LongLink => Some("too_long"),
            Self::UnknownClient => Some("unknown_client"),
            Self::BadRedirect(_) => Some("redirect_uri"),
            Self::BadDocument(_) => Some("client_document"),
            Self::Expired => Some("expired"),
            Self::OtherBrowser => Some("other_browser"),
            Self::NotByUser => Some("not_by_user"),
            Self::TimedOut => Some("timed_out"),
            Self::TooMany(_) => Some("too_many_requests"),
            Self::Unavailable(_) => Some("temporarily_unavailable"),
            Self::Finished
            | Self::TooLate
            | Self::Lapsed
            | Self::Declined
            | Self::TryAgain(_)
            | Self::NotAllowed(_) => None,
        }
    }

    /// The page.
    pub fn page(self, server: &Server) -> Response {
        let site = Site::of(server);
        let retry_after = match &self {
            Self::TooMany(after) | Self::Unavailable(after) => Some(after.as_secs().max(1)),
            _ => None,
        };
        let status = self.status();
        let mut response = web::respond(status, &site, &self.message(&site));
        if let Some(after) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after));
        }
        response
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::TryAgain(it) if it.outage => StatusCode::BAD_GATEWAY,
            Self::BadLink
            | Self::UnknownClient
            | Self::BadRedirect(_)
            | Self::BadDocument(_)
            | Self::Expired
            | Self::Lapsed
            | Self::TryAgain(_) => StatusCode::BAD_REQUEST,
            Self::LongLink => StatusCode::URI_TOO_LONG,
            Self::OtherBrowser | Self::NotByUser | Self::NotAllowed(_) => StatusCode::FORBIDDEN,
            Self::Finished | Self::TooLate | Self::Declined => StatusCode::OK,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message<'a>(self, site: &'a Site<'a>) -> MessagePage<'a> {
        let say = |tone, title: &str, texts: &[&str]| MessagePage {
            site,
            tone,
            title: title.to_owned(),
            texts: texts.iter().map(|&text| text.to_owned()).collect(),
            facts: Vec::new(),
            links: Vec::new(),
        };
        match self {
            Self::BadLink | Self::LongLink => say(
                Tone::Bad,
                "This link does not work",
                &["It is incomplete, was changed, or is too long. Start again from your application."],
            ),
            Self::UnknownClient => say(
                Tone::Bad,
                "This server does not know your application",
                &[
                    "Its registration is unknown here or too old.",
                    "In your application, remove this server and add it again. It will register anew.",
                ],
            ),
            Self::BadRedirect(why) | Self::BadDocument(why) => say(
                Tone::Bad,
                "The application cannot be connected",
                &[why, "For your safety nothing was sent to it."],
            ),
            Self::Expired => say(
                Tone::Warn,
                "This sign-in has expired",
                &["It was open for too long, or was begun again. Start again from your application."],
            ),
            Self::OtherBrowser => say(
                Tone::Bad,
                "This sign-in was begun in another browser",
                &[
                    "A sign-in must end in the browser in which it began, with cookies allowed.",
                    "If somebody sent you this link, close the page. Otherwise start again from your application.",
                ],
            ),
            Self::NotByUser => say(
                Tone::Bad,
                "Another site opened this page",
                &["Nothing was approved. If you want to connect an application, start from there."],
            ),
            Self::Finished => say(
                Tone::Good,
                "You are signed in",
                &["Your application is connected. You can close this page."],
            ),
            Self::TooLate => MessagePage {
                links: vec![Link { label: "Your account".to_owned(), href: site.account_link.clone() }],
                ..say(
                    Tone::Warn,
                    "It is too late to cancel",
                    &["Your application is connected already. You can disconnect it on your account page."],
                )
            },
            Self::Lapsed => say(
                Tone::Warn,
                "This sign-in is over",
                &[
                    "Nothing is connected by it: your application did not finish it in time, or was disconnected since.",
                    "Start again from your application.",
                ],
            ),
            Self::Declined => say(
                Tone::Warn,
                "You cancelled",
                &["Nothing was connected. Start again from your application if you change your mind."],
            ),
            Self::TryAgain(it) => it.message(site),
            Self::NotAllowed(it) => it.message(site),
            Self::TimedOut => say(
                Tone::Warn,
                "Your browser took too long",
                &["What it was sending did not arrive in time. Go back, then try again."],
            ),
            Self::TooMany(after) => {
                let text = match after.as_secs().div_ceil(60) {
                    0 | 1 => "Wait a minute, then try again.".to_owned(),
                    minutes => format!("Wait {minutes} minutes, then try again."),
                };
                say(Tone::Warn, "Too many attempts", &[&text])
            }
            Self::Unavailable(_) => say(
                Tone::Warn,
                "Sign-in is briefly unavailable",
                &["Nothing is lost. Wait a moment, then reload this page."],
            ),
        }
    }
}

impl TryAgain {
    fn message<'a>(self, site: &'a Site<'a>) -> MessagePage<'a> {
        let (client, give_up) = self.give_up;
        MessagePage {
            site,
            tone: Tone::Warn,
            title: "You are not signed in yet".to_owned(),
            texts: vec![self.why],
            facts: Vec::new(),
            links: vec![
                Link { label: "Try again".to_owned(), href: self.again },
                Link { label: format!("Give up and return to {client}"), href: give_up },
            ],
        }
    }
}

impl NotAllowed {
    fn message<'a>(self, site: &'a Site<'a>) -> MessagePage<'a> {
        let (client, give_up) = self.give_up;
        let why = self.withheld.unwrap_or_else(|| {
            format!("You signed in, but this account has no access to {}. {}", site.name, ask(site))
        });
        let mut links = vec![
            Link { label: format!("Return to {client}"), href: give_up },
            Link { label: "Use another account".to_owned(), href: self.other_account },
        ];
        links.extend(site.support_url.map(|url| Link { label: "Get help".to_owned(), href: url.to_owned() }));
        MessagePage {
            site,
            tone: Tone::Bad,
            title: format!("You may not use {}", site.name),
            texts: vec![why],
            facts: vec![("Signed in as", self.who), ("Account id", self.subject)],
            links,
        }
    }
}

/// Whom to ask for access.
fn ask(site: &Site<'_>) -> String {
    match site.support_url {
        Some(_) => "Ask its administrator for access; the link below leads to help.".to_owned(),
        None => format!("Ask the administrator of {} for access.", site.name),
    }
}
