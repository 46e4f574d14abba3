//! What the checks look at, for whom, and what they find.

use serde::Serialize;

/// A client, by how it finds its way in. What each does is from `tests/clients` where it can be run, and else from its
/// published source and documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Client {
    ClaudeCode,
    ClaudeAi,
    ChatGpt,
    Codex,
    Cursor,
    VsCode,
    McpRemote,
    TypescriptSdk,
    PythonSdk,
    RustSdk,
    /// Clients that are web pages, such as the MCP Inspector.
    Browser,
}

impl Client {
    /// Every client.
    pub(super) const ALL: &[Self] = &[
        Self::ClaudeCode,
        Self::ClaudeAi,
        Self::ChatGpt,
        Self::Codex,
        Self::Cursor,
        Self::VsCode,
        Self::McpRemote,
        Self::TypescriptSdk,
        Self::PythonSdk,
        Self::RustSdk,
        Self::Browser,
    ];

    /// Those that read documents by the strict schemas of the TypeScript SDK.
    pub(super) const STRICT: &[Self] = &[
        Self::ClaudeCode,
        Self::ClaudeAi,
        Self::Cursor,
        Self::McpRemote,
        Self::TypescriptSdk,
        Self::Browser,
    ];

    /// Those that call from their vendor's cloud: from the internet, over IPv4.
    pub(super) const CLOUD: &[Self] = &[Self::ClaudeAi, Self::ChatGpt];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "Claude Code",
            Self::ClaudeAi => "claude.ai",
            Self::ChatGpt => "ChatGPT",
            Self::Codex => "Codex",
            Self::Cursor => "Cursor",
            Self::VsCode => "VS Code",
            Self::McpRemote => "mcp-remote",
            Self::TypescriptSdk => "TypeScript SDK",
            Self::PythonSdk => "Python SDK",
            Self::RustSdk => "Rust SDK",
            Self::Browser => "clients in a browser",
        }
    }
}

/// What is looked at. The names are those that the README's troubleshooting table refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Check {
    Url,
    Reach,
    Tls,
    Clock,
    Redirect,
    Html,
    Unavailable,
    Challenge,
    Resource,
    Issuer,
    Registration,
    Documents,
    Authorize,
    Browser,
    Callback,
    Token,
    Cors,
    Saved,
    Session,
}

impl Check {
    /// Every check, in the order in which a client meets them.
    #[cfg(test)]
    pub(super) const ALL: &[Self] = &[
        Self::Url,
        Self::Reach,
        Self::Tls,
        Self::Clock,
        Self::Redirect,
        Self::Html,
        Self::Unavailable,
        Self::Challenge,
        Self::Resource,
        Self::Issuer,
        Self::Registration,
        Self::Documents,
        Self::Authorize,
        Self::Browser,
        Self::Callback,
        Self::Token,
        Self::Cors,
        Self::Saved,
        Self::Session,
    ];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Reach => "reach",
            Self::Tls => "tls",
            Self::Clock => "clock",
            Self::Redirect => "redirect",
            Self::Html => "html",
            Self::Unavailable => "unavailable",
            Self::Challenge => "challenge",
            Self::Resource => "resource",
            Self::Issuer => "issuer",
            Self::Registration => "registration",
            Self::Documents => "documents",
            Self::Authorize => "authorize",
            Self::Browser => "browser",
            Self::Callback => "callback",
            Self::Token => "token",
            Self::Cors => "cors",
            Self::Saved => "saved",
            Self::Session => "session",
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    /// As it should be.
    Good,
    /// The named clients are kept away, and it is meant so, as far as can be told.
    Note,
    /// It was not looked at.
    Unseen,
    /// Nobody is known to stop at it.
    Warning,
    /// No client stops at it, and users are not safe.
    Danger,
    /// The named clients stop here.
    Fault,
}

/// One thing that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    /// Where.
    pub(super) check: Check,
    /// How bad it is.
    pub(super) level: Level,
    /// What was seen.
    pub(super) found: String,
    /// Who stops at a fault, or whom a note is about; nobody else is named.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) clients: Vec<Client>,
    /// What to do about it; empty when it is good, or nothing can be done here.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) mend: String,
}
