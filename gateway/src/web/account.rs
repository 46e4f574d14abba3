//! The account page.

use askama::Template;

use super::{Day, SignedInUser, Site};

/// What a user gave to clients, and where they are signed in; each with its end.
#[derive(Debug, Template)]
#[template(path = "account.html")]
pub struct AccountPage<'a> {
    /// The server.
    pub site: &'a Site<'a>,
    /// What was just done.
    pub done: Option<&'static str>,
    /// The user may not use the server any more.
    pub denied: bool,
    /// Who is signed in.
    pub user: SignedInUser,
    /// Where they signed in, when that is elsewhere.
    pub provider: Option<String>,
    /// What a client is connected to.
    pub mcp_url: &'a str,
    /// Where the forms go.
    pub action: String,
    /// The token of the forms.
    pub token: String,
    /// The clients that may act for the user.
    pub clients: Vec<ConnectedClient>,
    /// The browsers in which the user is signed in.
    pub sessions: Vec<OpenSession>,
    /// Signs in as somebody else.
    pub other_account_link: String,
}

impl AccountPage<'_> {
    fn others(&self) -> usize {
        self.sessions.iter().filter(|session| !session.is_this).count()
    }
}

/// One client that may act for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedClient {
    /// Its grant.
    pub id: String,
    /// What it calls itself.
    pub name: String,
    /// Where its code went, in words.
    pub place: String,
    /// What it was granted.
    pub scopes: Vec<String>,
    /// Since when.
    pub since: Day,
    /// When it was last used.
    pub used: Day,
}

/// One browser in which the user is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenSession {
    /// Its id, which opens nothing.
    pub id: String,
    /// Which browser, in words.
    pub browser: String,
    /// Since when.
    pub since: Day,
    /// Whether it is the one that reads this.
    pub is_this: bool,
}
