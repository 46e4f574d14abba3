//! Each check, on a server that is broken in that way and in no other.

mod server;

use super::{
    Visit,
    finding::{Check, Client, Level},
    report::Report,
};
use crate::cli::http::Http;
use server::{Break, Server};

async fn examine(server: &Server, token: Option<&str>) -> Report {
    let mut visit = Visit { http: Http::new(), url: server.url.clone(), report: Report::default() };
    let home = tempfile::TempDir::new().unwrap();
    visit.walk(true, token.map(|t| t.to_owned().into()).as_ref(), Some(home.path())).await;
    visit.report
}

/// What a break must be told as: the check, one of those who stop (none: a warning), and words of the finding or its
/// remedy.
const TOLD: &[(Break, Check, Option<Client>, &str)] = {
    use Break::*;
    &[
        (WwwRedirect, Check::Redirect, Some(Client::TypescriptSdk), "www"),
        (LoginPage, Check::Html, Some(Client::ClaudeAi), "Company login"),
        (NoTokenNeeded, Check::Challenge, None, "anyone may call"),
        (EndpointNotFound, Check::Challenge, Some(Client::Cursor), "404"),
        (ForbiddenNotUnauthorized, Check::Challenge, Some(Client::PythonSdk), "not 401"),
        (StoreAway, Check::Unavailable, Some(Client::ChatGpt), "Redis"),
        (NoChallenge, Check::Challenge, None, "WWW-Authenticate"),
        (BasicFirst, Check::Challenge, Some(Client::TypescriptSdk), "first word"),
        (ErrorWithoutToken, Check::Challenge, None, "RFC 6750"),
        (ChallengeOfOtherOrigin, Check::Challenge, Some(Client::VsCode), "public URL"),
        (GetIsNotAllowed, Check::Challenge, Some(Client::Codex), "GET without a token answers 405"),
        (ResourceBehindLogin, Check::Resource, Some(Client::ClaudeCode), "must be public"),
        (WellKnownIsPage, Check::Html, Some(Client::TypescriptSdk), "not JSON"),
        (ResourceFails, Check::Unavailable, Some(Client::PythonSdk), "give up"),
        (ResourceRefusesOldVersion, Check::Resource, Some(Client::RustSdk), "2024-11-05"),
        (ResourceNull, Check::Resource, Some(Client::ClaudeCode), "jwks_uri"),
        (ResourceOfOtherHost, Check::Resource, Some(Client::ClaudeCode), "bare to the www host"),
        (ResourceIsOrigin, Check::Resource, Some(Client::VsCode), "the very URL"),
        (ResourceWithSlash, Check::Resource, Some(Client::Codex), "a slash more"),
        (ResourceNamesNobody, Check::Resource, Some(Client::ChatGpt), "no authorization server"),
        (OfflineAccessOfResource, Check::Resource, None, "offline_access"),
        (NoMetadata, Check::Issuer, Some(Client::TypescriptSdk), "Incompatible auth server"),
        (IssuerWithSlash, Check::Issuer, Some(Client::PythonSdk), "letter by letter"),
        (MetadataNull, Check::Issuer, Some(Client::ClaudeCode), "registration_endpoint"),
        (NoS256, Check::Issuer, Some(Client::ClaudeAi), "S256"),
        (NoNone, Check::Issuer, None, "none"),
        (
            NoRegistration,
            Check::Issuer,
            Some(Client::McpRemote),
            "does not support dynamic client registration",
        ),
        (RegistrationNull, Check::Registration, Some(Client::TypescriptSdk), "client_uri"),
        (RegistrationWithoutUris, Check::Registration, Some(Client::Codex), "redirect_uris"),
        (RegistrationFloat, Check::Registration, Some(Client::PythonSdk), "whole number"),
        (RegistrationWithoutSecret, Check::Registration, Some(Client::PythonSdk), "client_secret_basic"),
        (RegistrationRefusesCursor, Check::Registration, Some(Client::Cursor), "invalid_redirect_uri"),
        (RegistrationCached, Check::Registration, None, "no-store"),
        (AuthorizeNotFound, Check::Authorize, Some(Client::ClaudeCode), "browser opens and shows"),
        (AuthorizeCircle, Check::Authorize, Some(Client::ClaudeCode), "circle"),
        (AuthorizeSendsBack, Check::Authorize, Some(Client::ClaudeCode), "invalid_scope"),
        (AuthorizeTrustsAnybody, Check::Authorize, None, "did not register"),
        (ApprovalByForm, Check::Browser, Some(Client::ClaudeCode), "Chromium blocks"),
        (PageInFrames, Check::Browser, None, "framed"),
        (PageCached, Check::Browser, None, "caches"),
        (CookieLost, Check::Browser, Some(Client::ClaudeCode), "another browser"),
        (CallbackNotRegistered, Check::Callback, Some(Client::ChatGpt), "/oauth/callback"),
        (TokenIsPage, Check::Html, Some(Client::ClaudeCode), "token endpoint"),
        (TokenFails, Check::Unavailable, Some(Client::ClaudeCode), "token endpoint"),
        (TokenSaysServerError, Check::Token, Some(Client::TypescriptSdk), "invalid_grant"),
        (NoPreflight, Check::Cors, Some(Client::Browser), "preflight"),
        (NothingExposed, Check::Cors, Some(Client::Browser), "Expose-Headers"),
        (PageReadable, Check::Cors, None, "other web pages"),
        (
            SessionExpired,
            Check::Session,
            Some(Client::ClaudeCode),
            "Your GitHub session expired, please sign in again.",
        ),
        (NotAllowed, Check::Session, Some(Client::ClaudeCode), "access.allow"),
        (BackendRefused, Check::Session, Some(Client::ClaudeCode), "egress.allow"),
        (DiscoverFails, Check::Session, Some(Client::TypescriptSdk), "server/discover"),
        (ClockOff, Check::Clock, None, "NTP"),
    ]
};

#[tokio::test]
async fn each_break_is_told_with_who_stops_and_how_to_mend_it() {
    let mut wrong = Vec::new();
    for &(broken, check, stops, words) in TOLD {
        let server = Server::start(Some(broken)).await;
        let report = examine(&server, Some("good")).await;
        let text = report.text();
        let finding = report.0.iter().find(|f| {
            f.check == check && f.level != Level::Good && format!("{} {}", f.found, f.mend).contains(words)
        });
        let told = finding.is_some_and(|f| {
            !f.mend.is_empty() && stops.map_or(f.clients.is_empty(), |client| f.clients.contains(&client))
        });
        if !told {
            wrong.push(format!("{broken:?}: no {check:?} that stops {stops:?} with {words:?}:\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn nothing_is_found_at_a_server_that_is_as_it_should_be() {
    let server = Server::start(None).await;
    let report = examine(&server, Some("good")).await;
    assert!(report.0.iter().all(|f| f.level == Level::Good), "{}", report.text());
}

#[tokio::test]
async fn where_nothing_listens_that_is_said() {
    let mut server = Server::start(None).await;
    server.stop().await;
    let report = examine(&server, None).await;
    let text = report.text();
    assert!(report.0.iter().any(|f| f.check == Check::Reach && f.level == Level::Fault), "{text}");
    assert!(text.contains("Nothing listens there"), "{text}");
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_said() {
    let mut server = Server::start(None).await;
    server.url.set_scheme("https").unwrap();
    let report = examine(&server, None).await;
    assert!(report.0.iter().any(|f| f.check == Check::Tls && f.level == Level::Fault), "{}", report.text());
}

#[tokio::test]
async fn a_stale_registration_of_mcp_remote_is_found() {
    let server = Server::start(None).await;
    let home = tempfile::TempDir::new().unwrap();
    let version = home.path().join(".mcp-auth/mcp-remote-0.15.1");
    std::fs::create_dir_all(&version).unwrap();
    let name = super::saved::file_name(server.url.as_str());
    for (id, level) in [("stale", Level::Fault), ("client", Level::Good)] {
        let saved =
            serde_json::json!({ "client_id": id, "redirect_uris": ["http://localhost:3118/callback"] });
        std::fs::write(version.join(&name), saved.to_string()).unwrap();
        let mut visit = Visit { http: Http::new(), url: server.url.clone(), report: Report::default() };
        visit.walk(true, None, Some(home.path())).await;
        let finding = visit.report.0.iter().find(|f| f.check == Check::Saved).unwrap();
        assert_eq!(finding.level, level, "{id}: {}", visit.report.text());
    }
}

#[test]
fn every_break_is_told_and_every_check_is_shown() {
    for broken in Break::ALL {
        assert!(TOLD.iter().any(|(told, ..)| told == broken), "{broken:?} is in no row");
    }
    // These need no server that is broken: a bad URL, nothing there, no TLS, a file at home.
    let elsewhere = [Check::Url, Check::Reach, Check::Tls, Check::Saved];
    for check in Check::ALL.iter().filter(|c| !elsewhere.contains(c)) {
        assert!(TOLD.iter().any(|(_, told, ..)| told == check), "{check:?} is in no row");
    }
}

/// The README's table of troubles names the check that finds each.
#[test]
fn every_row_of_the_troubleshooting_table_is_a_check() {
    let readme = include_str!("../../../../../README.md");
    let (_, table) = readme.split_once("## Troubleshooting").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<&str> =
        table.lines().skip_while(|l| !l.starts_with('|')).skip(2).take_while(|l| !l.is_empty()).collect();
    assert!(rows.len() > 5, "the table was found");
    for row in rows {
        let check = row.trim_matches(['|', ' ']).rsplit('|').next().unwrap().trim().trim_matches('`');
        assert!(Check::ALL.iter().any(|c| c.name() == check), "{check:?} is no check: {row}");
    }
}
