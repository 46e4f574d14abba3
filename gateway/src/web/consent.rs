//! The consent page.

use askama::Template;

use super::{Ability, Day, Site};
use crate::model::{Profile, RedirectUri, redirect_uri::Kind};

/// Asks whether a client may act for the user. Never skipped.
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub struct ConsentPage<'a> {
    /// The server.
    pub site: &'a Site<'a>,
    /// What the client calls itself.
    pub client_name: &'a str,
    /// Its first letter.
    pub client_initial: String,
    /// Where the code goes, in full.
    pub redirect_uri: &'a str,
    /// Where the code goes, in words.
    pub destination: Destination,
    /// Who vouches for the client's name.
    pub identified: Identified,
    /// That others can take its name, where somebody vouches for it.
    pub claim: Option<String>,
    /// What the client will be able to do.
    pub abilities: Vec<Ability>,
    /// Who reads it.
    pub who: Who,
    /// Why the user must sign in again.
    pub expired: Option<String>,
    /// The day on which that user approved the same before.
    pub approved_before: Option<Day>,
    /// The identity provider's name.
    pub provider: String,
    /// "Allow" or "Continue with GitHub".
    pub approve_label: String,
    /// The approval.
    pub approve_link: String,
    /// The refusal.
    pub deny_link: String,
    /// Signs in as somebody else.
    pub other_account_link: String,
}

/// Who reads a consent page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// This user, who is signed in and will be the one who approves.
    SignedIn(SignedInUser),
    /// The identity provider will say so; this one signed in last in this browser.
    Last(SignedInUser),
    /// The identity provider will say so.
    Nobody,
}

/// Who vouches for a client's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identified {
    /// The host of its document.
    Document {
        /// The host.
        host: String,
        /// Whether the client proves that it holds a key of the document.
        signs: bool,
    },
    /// The administrator, who listed it.
    Listed {
        /// Whether it proves itself.
        has_secret: bool,
    },
    /// Nobody but itself.
    Itself,
}

impl Identified {
    /// What to know where somebody vouches for a name that any program on the user's device can take: the id is no
    /// secret, and loopback or a scheme belongs to whoever listens. A key is no proof there: a program that every user
    /// installs may carry it, for whoever takes it apart (RFC 8252 section 8.5). What such a program would get of a client
    /// whose secret the administrator handed out it could not redeem.
    pub fn claim(&self, uri: &RedirectUri, client_name: &str) -> Option<String> {
        let who = match uri.kind() {
            Kind::Https { .. } => return None,
            Kind::Loopback { .. } | Kind::PlainHttp => "program on this computer",
            Kind::Custom { .. } => "app on this device",
        };
        match self {
            Self::Document { .. } | Self::Listed { has_secret: false } => {
                Some(format!("Any {who} can say that it is {client_name}."))
            }
            Self::Listed { has_secret: true } | Self::Itself => None,
        }
    }
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedInUser {
    /// The name.
    pub name: String,
    /// The e-mail address.
    pub detail: Option<String>,
}

impl SignedInUser {
    /// What a profile tells of its user.
    pub fn of(profile: &Profile) -> Self {
        Self {
            name: profile.name.clone().unwrap_or_else(|| profile.subject.clone()),
            detail: profile.verified_email.clone(),
        }
    }
}

/// Where an approval leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// A short name of the place.
    pub place: String,
    /// What to look out for.
    pub warning: String,
}

impl Destination {
    /// Describes a redirect URI.
    pub fn of(uri: &RedirectUri, client_name: &str) -> Self {
        match uri.kind() {
            Kind::Https { host } => Self {
                place: host.clone(),
                warning: format!(
                    "Continue only if you started this yourself and trust {host}: it will receive the access that \
                     you approve."
                ),
            },
            Kind::Loopback { .. } | Kind::PlainHttp => Self {
                place: "A program on this computer".to_owned(),
                warning: format!(
                    "Continue only if you have just started this yourself, with {client_name} on this computer. \
                     If somebody sent you a link to this page, cancel."
                ),
            },
            Kind::Custom { scheme } => Self {
                place: format!("The app that opens {scheme}: links"),
                warning: format!(
                    "Continue only if you have just started this yourself, in {client_name}. If somebody sent you a \
                     link to this page, cancel."
                ),
            },
        }
    }
}
