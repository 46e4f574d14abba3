//! `gatehouse doctor URL`: why a client cannot connect, and how to mend it.
//!
//! It goes the way that clients go, from the URL to the token endpoint, and says at each step what it saw, which
//! clients stop there, and what to do. It signs nobody in and changes nothing, except that the server may remember a
//! few registrations of a client named "gatehouse doctor".

mod browser;
mod challenge;
mod cors;
mod csp;
mod document;
mod documents;
mod finding;
mod html;
mod instead;
mod issuer;
mod outside;
mod pages;
mod provider;
mod reach;
mod redirect;
mod registration;
mod report;
mod resource;
mod saved;
mod session;
#[cfg(test)]
mod tests;
mod token_endpoint;
mod unreachable;
mod visit;

use std::{io::Read, path::PathBuf};

use clap::{Args, ValueEnum};
use secrecy::SecretString;
use url::Url;

use self::visit::{Patience, Visit};
use super::{CliError, http::Trust, print};

/// Find out why an MCP client cannot connect to a server, Gatehouse or another.
///
/// Walks discovery, challenge, registration, sign-in page, token endpoint and CORS as Claude Code, claude.ai, ChatGPT,
/// Codex, Cursor, VS Code, mcp-remote and the SDKs do, and says who would stop where and how to mend it. Nobody is signed
/// in. The exit code is 1 if a client would stop, or users are not safe.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The MCP endpoint, as clients are given it, for example `https://tools.mcp.example.com/mcp`.
    url: Url,
    #[command(flatten)]
    trust: Trust,
    /// A file with an access token (`-`: the standard input), to look at a signed-in client's calls too. `gatehouse token`
    /// gives one.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Register no client. The sign-in page is then not looked at.
    #[arg(long)]
    no_register: bool,
    /// How to print the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: an object with `findings`, and with `stops`, `keptAway`, `unseen` and `danger`, which say what the last
    /// lines of the text do.
    Json,
}

pub(super) async fn run(args: DoctorArgs) -> Result<(), CliError> {
    let DoctorArgs { url, trust, token_file, no_register, format } = args;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(CliError::Input(format!(
            "a URL of {}: is not an MCP endpoint: it must begin with https:// or http://",
            url.scheme()
        )));
    }
    let http = trust.client()?;
    let token = token_file.map(|file| token(&file)).transpose()?;
    let mut visit = Visit::new(http, url, Patience::default(), matches!(format, Format::Text));
    let home = std::env::home_dir();
    visit.walk(!no_register, token.as_ref(), home.as_deref()).await?;
    print(&match format {
        Format::Text => visit.report.summary(),
        Format::Json => visit.report.json(),
    })?;
    if visit.report.has_faults() {
        return Err(CliError::Failed("a client would stop: see the lines marked FAIL".to_owned()));
    }
    if visit.report.danger_at().is_some() {
        return Err(CliError::Failed("users are not safe: see the lines marked RISK".to_owned()));
    }
    Ok(())
}

fn token(file: &PathBuf) -> Result<SecretString, CliError> {
    let wrong = |why: String| CliError::Input(format!("--token-file {}: {why}", file.display()));
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(|e| wrong(e.to_string()))?;
    } else {
        text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    }
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong("must hold one access token and nothing else".to_owned()));
    }
    Ok(token.to_owned().into())
}
