//! The sign-in page of `identity.local`.

use askama::Template;

use super::Site;

/// Asks for name and password.
#[derive(Debug, Template)]
#[template(path = "signin.html")]
pub struct SignInPage<'a> {
    /// The server.
    pub site: &'a Site<'a>,
    /// The client that will be connected; without one it is the user's own page that is signed in to.
    pub client_name: Option<&'a String>,
    /// Where the form goes.
    pub action: String,
    /// The flow.
    pub flow: String,
    /// The token that binds the form to the flow.
    pub token: String,
    /// The name as it was typed.
    pub username: &'a str,
    /// Why the page is shown again.
    pub problem: Option<&'a str>,
    /// Gives up.
    pub cancel_link: String,
}
