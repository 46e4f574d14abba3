//! What a failure says to a person.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use super::{Failure, NotAllowed, Over, TryAgain};
use crate::{
    server::Server,
    web::{self, Link, MessagePage, Site, Tone},
};

impl Failure {
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
            | Self::Over(Over::Lapsed)
            | Self::AccountForm { foreign: false }
            | Self::TryAgain(_) => StatusCode::BAD_REQUEST,
            Self::LongLink => StatusCode::URI_TOO_LONG,
            Self::OtherBrowser
            | Self::NotByUser
            | Self::AccountForm { foreign: true }
            | Self::NotAllowed(_) => StatusCode::FORBIDDEN,
            Self::Over(Over::Finished | Over::TooLate | Over::Declined) => StatusCode::OK,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message<'a>(self, site: &'a Site<'a>) -> MessagePage<'a> {
        let say = |tone, title: &str, texts: &[&str]| say(site, tone, title, texts);
        match self {
            Self::Over(over) => over.message(site),
            Self::AccountForm { .. } => MessagePage {
                links: vec![account(site)],
                ..say(
                    Tone::Warn,
                    "Nothing was changed",
                    &[
                        "The page was open for too long, or another site sent this. Open your account page again.",
                    ],
                )
            },
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

impl Over {
    fn message<'a>(self, site: &'a Site<'a>) -> MessagePage<'a> {
        let say = |tone, title: &str, texts: &[&str]| say(site, tone, title, texts);
        match self {
            Self::Finished => say(
                Tone::Good,
                "You are signed in",
                &["Your application is connected. You can close this page."],
            ),
            Self::TooLate => MessagePage {
                links: vec![account(site)],
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
        }
    }
}

fn account(site: &Site<'_>) -> Link {
    Link { label: "Your account".to_owned(), href: site.account_link.clone() }
}

/// A page of nothing but text.
fn say<'a>(site: &'a Site<'a>, tone: Tone, title: &str, texts: &[&str]) -> MessagePage<'a> {
    MessagePage {
        site,
        tone,
        title: title.to_owned(),
        texts: texts.iter().map(|&text| text.to_owned()).collect(),
        facts: Vec::new(),
        links: Vec::new(),
    }
}

impl TryAgain {
    fn message<'a>(self, site: &'a Site<'a>) -> MessagePage<'a> {
        let (client, give_up) = self.give_up;
        let last =
            self.again.is_none().then_some("That was the last attempt. Start again from your application.");
        let again = self.again.map(|href| Link { label: "Try again".to_owned(), href });
        let give_up = Link { label: format!("Give up and return to {client}"), href: give_up };
        let texts: Vec<&str> = std::iter::once(self.why.as_str()).chain(last).collect();
        MessagePage {
            links: again.into_iter().chain([give_up]).collect(),
            ..say(site, Tone::Warn, "You are not signed in yet", &texts)
        }
    }
}

impl NotAllowed {
    fn message<'a>(self, site: &'a Site<'a>) -> MessagePage<'a> {
        let (client, give_up) = self.give_up;
        let why = self.withheld.unwrap_or_else(|| {
            format!("You signed in, but this account has no access to {}. {}", site.name, ask(site))
        });
        let mut links = vec![Link { label: format!("Return to {client}"), href: give_up }];
        links.extend(self.other_account.map(|href| Link { label: "Use another account".to_owned(), href }));
        links.extend(site.support_url.map(|url| Link { label: "Get help".to_owned(), href: url.to_owned() }));
        MessagePage {
            facts: vec![("Signed in as", self.who), ("Account id", self.subject)],
            links,
            ..say(site, Tone::Bad, &format!("You may not use {}", site.name), &[&why])
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
