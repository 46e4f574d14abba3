//! A page that says one thing, and what to do now.

use askama::Template;

use super::Site;

/// A message.
#[derive(Debug, Template)]
#[template(path = "message.html")]
pub struct MessagePage<'a> {
    /// The server.
    pub site: &'a Site<'a>,
    /// How it is meant.
    pub tone: Tone,
    /// What happened.
    pub title: String,
    /// What to know and to do.
    pub texts: Vec<String>,
    /// Facts, as name and value.
    pub facts: Vec<(&'static str, String)>,
    /// Where to go; the first is the main one.
    pub links: Vec<Link>,
}

/// How a message is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Neither good nor bad news.
    Plain,
    /// Done.
    Good,
    /// Something is left to do.
    Warn,
    /// It was refused.
    Bad,
}

/// A link of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it does.
    pub label: String,
    /// Where it leads: one of our own endpoints, or a proven redirect URI.
    pub href: String,
}
