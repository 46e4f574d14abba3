//! Each check, on a server that is broken in that way and in no other.

mod server;
mod tls;

use std::{path::Path, time::Duration};

use url::Url;

use super::{
    finding::{Check, Client, Level},
    report::Report,
    visit::{Patience, Visit},
};
use crate::cli::http::Http;
use server::{Break, Server};
use tls::Certificate;

async fn examine(server: &Server, token: Option<&str>) -> Report {
    visit(server, server.url.clone(), Patience::default(), true, token).await
}

async fn visit(server: &Server, url: Url, patience: Patience, register: bool, token: Option<&str>) -> Report {
    let http = server.ca.clone().map_or_else(Http::new, |ca| Http::trusting(vec![ca]));
    let mut visit = Visit::new(http, url, patience, false);
    let home = tempfile::TempDir::new().unwrap();
    if let Some(id) = server.saved {
        keep(home.path(), &server.url, id);
    }
    let token = token.map(|t| t.to_owned().into());
    visit.walk(register, token.as_ref(), Some(home.path())).await.unwrap();
    visit.report
}

fn text(report: &mut Report) -> String {
    report.untold() + &report.summary()
}

/// Leaves a registration at home as `mcp-remote` does.
fn keep(home: &Path, url: &Url, id: &str) {
    let version = home.join(".mcp-auth/mcp-remote-0.15.1");
    std::fs::create_dir_all(&version).unwrap();
    let saved = serde_json::json!({ "client_id": id, "redirect_uris": ["http://localhost:3118/callback"] });
    std::fs::write(version.join(super::saved::file_name(url.as_str())), saved.to_string()).unwrap();
}

/// What a break must be told as: the check, one of those who stop (none: a warning), and words of the finding or its
/// remedy.
const TOLD: &[(Break, Check, Option<Client>, &str)] = {
    use Break::*;
    &[
        (WwwRedirect, Check::Redirect, Some(Client::TypescriptSdk), "the www host"),
        (LoginPage, Check::Html, Some(Client::ClaudeAi), "Company login"),
        (NoTokenNeeded, Check::Challenge, None, "anyone may call"),
        (EndpointNotFound, Check::Challenge, Some(Client::Cursor), "404"),
        (ForbiddenNotUnauthorized, Check::Challenge, Some(Client::PythonSdk), "not 401"),
        (StoreAway, Check::Unavailable, Some(Client::ChatGpt), "Redis"),
        (NoChallenge, Check::Challenge, None, "WWW-Authenticate"),
        (BasicFirst, Check::Challenge, None, "first word"),
        (ErrorWithoutToken, Check::Challenge, None, "RFC 6750"),
        (ChallengeOfOtherOrigin, Check::Challenge, Some(Client::VsCode), "public URL"),
        (GetIsNotAllowed, Check::Challenge, Some(Client::Codex), "GET without a token answers 405"),
        (ResourceBehindLogin, Check::Resource, Some(Client::ClaudeCode), "must be public"),
        (WellKnownIsPage, Check::Html, Some(Client::TypescriptSdk), "not JSON"),
        (ResourceFails, Check::Unavailable, Some(Client::PythonSdk), "give up"),
        (ResourceRefusesOldVersion, Check::Resource, Some(Client::RustSdk), "2024-11-05"),
        (ResourceNull, Check::Resource, Some(Client::ClaudeCode), "jwks_uri"),
        (ResourceOfOtherHost, Check::Resource, Some(Client::ClaudeCode), "the host differs"),
        (ResourceIsOrigin, Check::Resource, Some(Client::VsCode), "the very URL"),
        (ResourceWithSlash, Check::Resource, Some(Client::Codex), "a slash more"),
        (ResourceNamesNobody, Check::Resource, Some(Client::ChatGpt), "no authorization server"),
        (OfflineAccessOfResource, Check::Resource, None, "offline_access"),
        (NoMetadata, Check::Issuer, Some(Client::TypescriptSdk), "Incompatible auth server"),
        (IssuerWithSlash, Check::Issuer, Some(Client::PythonSdk), "letter by letter"),
        (MetadataNull, Check::Issuer, Some(Client::ClaudeCode), "registration_endpoint"),
        (NoS256, Check::Issuer, Some(Client::ClaudeAi), "S256"),
        (NoNone, Check::Issuer, None, "none"),
        (EndpointPlain, Check::Issuer, Some(Client::ClaudeAi), "which is not https"),
        (EndpointRelative, Check::Issuer, Some(Client::VsCode), "not an absolute URL"),
        (EndpointMissing, Check::Issuer, Some(Client::Cursor), "has no token_endpoint"),
        (NoCode, Check::Issuer, Some(Client::PythonSdk), "clients ask for a code"),
        (IssUnsaid, Check::Issuer, None, "names itself in its answers"),
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
        (NothingListens, Check::Reach, Some(Client::ClaudeCode), "Nothing listens there"),
        (NameUnknown, Check::Reach, Some(Client::ChatGpt), "does not resolve"),
        (
            PrivateAddress,
            Check::Reach,
            Some(Client::ClaudeAi),
            "claude.ai and ChatGPT call from the internet",
        ),
        (PlainHttp, Check::Tls, Some(Client::ClaudeCode), "plain HTTP"),
        (CertificateExpired, Check::Tls, Some(Client::ClaudeAi), "Renew"),
        (CertificateOfOtherHost, Check::Tls, Some(Client::PythonSdk), "another host's"),
        (CertificateUnknown, Check::Tls, Some(Client::TypescriptSdk), "NODE_EXTRA_CA_CERTS"),
        (IntermediateMissing, Check::Tls, Some(Client::RustSdk), "full chain"),
        (PrefixStripped, Check::Resource, Some(Client::ClaudeCode), "takes /tools off the path"),
        (RateLimited, Check::Unavailable, Some(Client::PythonSdk), "a firewall or a proxy in front counts"),
        (IncidentPage, Check::Html, Some(Client::ClaudeAi), "Incident ID: 77-1234"),
        (DocumentsMisstated, Check::Issuer, Some(Client::TypescriptSdk), "neither true nor false"),
        (DocumentsUnusable, Check::Documents, Some(Client::ClaudeCode), "allowedHosts"),
        (FormActionNone, Check::Browser, Some(Client::Cursor), "form-action 'none'"),
        (Sandboxed, Check::Browser, Some(Client::ClaudeCode), "sandbox allow-scripts"),
        (PasswordChanged, Check::Session, Some(Client::ClaudeCode), "password"),
        (BackendIncident, Check::Session, Some(Client::ClaudeCode), "incident 5f3a"),
        (StaleRegistration, Check::Saved, Some(Client::McpRemote), "rm -rf ~/.mcp-auth"),
        (IssuerInside, Check::Reach, Some(Client::Codex), "which only this network reaches"),
        (TokenSaysSuccess, Check::Token, None, "200 OK to an error (bad_verification_code)"),
        (TokenGivesAway, Check::Token, None, "never issued"),
        (NoResource, Check::Resource, None, "2025-03-26"),
        (SlashRedirect, Check::Redirect, None, "within its origin"),
        (RedirectedTwice, Check::Redirect, None, "/mcp/ is redirected to"),
        (Compressed, Check::Resource, None, "compressed (gzip)"),
        (ByteOrderMark, Check::Resource, Some(Client::PythonSdk), "byte order mark"),
        (BasicLineFirst, Check::Challenge, None, "not Bearer but \"Basic\""),
        (BasicAndElsewhere, Check::Resource, Some(Client::TypescriptSdk), "do not learn from the challenge"),
        (SpacedChallenge, Check::Challenge, None, "spaces around"),
        (ResourceClosed, Check::Cors, Some(Client::Browser), "/.well-known/oauth-protected-resource/mcp."),
        (TokenClosed, Check::Cors, Some(Client::Browser), "/oauth/token."),
        (FoundRedirect, Check::Redirect, Some(Client::ClaudeCode), "where it stays one"),
        (LoginRedirect, Check::Redirect, Some(Client::ClaudeCode), "proxy's own authentication"),
        (BackendAway, Check::Unavailable, Some(Client::Cursor), "the server behind it is away"),
        (NotRouted, Check::Html, Some(Client::Cursor), "no route for that path"),
        (IssuerNameUnknown, Check::Issuer, Some(Client::VsCode), "is a name of the cluster"),
        (RegistrationNameUnknown, Check::Registration, Some(Client::ChatGpt), "is another host"),
        (RegistrationFails, Check::Unavailable, Some(Client::VsCode), "/oauth/register answers 500"),
        (PageIsText, Check::Authorize, Some(Client::Codex), "text/plain"),
        (AuthorizeLeadsNowhere, Check::Callback, Some(Client::Codex), "cannot be reached"),
        (IssuerOfAnother, Check::Issuer, Some(Client::ChatGpt), "another authorization server"),
        (IssuerMissing, Check::Issuer, Some(Client::ChatGpt), "does not say its `issuer`"),
        (ResourceOfOtherPort, Check::Resource, Some(Client::ClaudeAi), "the port differs"),
        (GetWithoutChallenge, Check::Challenge, None, "without its WWW-Authenticate"),
        (TokenIsText, Check::Token, Some(Client::ClaudeCode), "without an OAuth error"),
        (Garbled, Check::Reach, Some(Client::RustSdk), "not in good HTTP"),
        (HandshakeEnds, Check::Tls, Some(Client::ClaudeCode), "does not speak TLS"),
        (FormActionInPage, Check::Browser, Some(Client::ClaudeCode), "form-action 'none'"),
        (ApprovalInSingleQuotes, Check::Browser, Some(Client::ClaudeCode), "Chromium blocks"),
    ]
};

#[tokio::test]
async fn each_break_is_told_with_who_stops_and_how_to_mend_it() {
    let mut wrong = Vec::new();
    for &(broken, check, stops, words) in TOLD {
        let server = Server::start(Some(broken)).await;
        let mut report = examine(&server, Some("good")).await;
        let text = text(&mut report);
        let finding = report.findings.iter().find(|f| {
            f.check == check
                && !matches!(f.level, Level::Good | Level::Note | Level::Unseen)
                && format!("{} {}", f.found, f.mend).contains(words)
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
    for (certificate, path) in [(None, ""), (Some(Certificate::Good), ""), (None, "/tenant/one")] {
        let server = Server::with(None, certificate, path).await;
        let mut report = examine(&server, Some("good")).await;
        // This machine is none that is called from a cloud.
        let (notes, others): (Vec<_>, Vec<_>) = report.findings.iter().partition(|f| f.level == Level::Note);
        let free = others.iter().all(|f| f.level == Level::Good) && !report.has_faults();
        let noted = notes.iter().map(|f| (f.check, f.clients.as_slice())).collect::<Vec<_>>();
        let as_told = free && noted == [(Check::Reach, Client::CLOUD)];
        assert!(as_told, "{certificate:?} {path}: {}", text(&mut report));
    }
}

/// Servers at which real clients sign in all the same, as far as they are named here.
const SIGNED_IN: &[(Break, &[Client])] = {
    use Break::*;
    &[
        (NoResource, Client::ALL),
        (SlashRedirect, Client::ALL),
        (Compressed, Client::ALL),
        (ByteOrderMark, Client::STRICT),
        (BasicFirst, Client::ALL),
        (BasicLineFirst, Client::ALL),
        (SpacedChallenge, Client::ALL),
        (NoChallenge, Client::ALL),
        (GetWithoutChallenge, Client::ALL),
        (TokenSaysSuccess, Client::ALL),
        (AuthorizeTrustsAnybody, Client::ALL),
    ]
};

#[tokio::test]
async fn who_signs_in_all_the_same_is_not_said_to_stop() {
    for (broken, clients) in SIGNED_IN {
        let server = Server::start(Some(*broken)).await;
        let mut report = examine(&server, None).await;
        let stopped: Vec<_> =
            report.findings.iter().filter(|f| f.level == Level::Fault).flat_map(|f| &f.clients).collect();
        assert!(!clients.iter().any(|c| stopped.contains(&c)), "{broken:?}: {}", text(&mut report));
    }
}

#[tokio::test]
async fn what_endangers_users_is_a_failure_that_stops_nobody() {
    for broken in [Break::AuthorizeTrustsAnybody, Break::TokenGivesAway] {
        let server = Server::start(Some(broken)).await;
        let mut report = examine(&server, None).await;
        assert!(report.danger_at().is_some() && !report.has_faults(), "{broken:?}: {}", text(&mut report));
    }
}

#[tokio::test]
async fn a_preflight_is_said_to_lack_what_that_address_needs() {
    let server = Server::start(Some(Break::NoPreflight)).await;
    let report = text(&mut examine(&server, None).await);
    let lacks = |path: &str, headers: &str| {
        report.contains(&format!("may not call {path}: the preflight from http://localhost:6274 is not answered with leave for {headers}.\n"))
    };
    assert!(lacks("/mcp", "authorization, content-type, mcp-protocol-version"), "{report}");
    assert!(lacks("/oauth/register", "content-type"), "{report}");
}

/// As MCP has servers do that serve no pages: it is meant so, and no client but those is told of it.
#[tokio::test]
async fn pages_that_are_refused_are_kept_away_and_fail_nothing() {
    let server = Server::start(Some(Break::PagesRefused)).await;
    let mut report = examine(&server, None).await;
    assert!(!report.has_faults(), "{}", text(&mut report));
    let kept: Vec<_> =
        report.findings.iter().filter(|f| f.level == Level::Note && f.check == Check::Cors).collect();
    assert_eq!(kept.iter().map(|f| f.clients.as_slice()).collect::<Vec<_>>(), [[Client::Browser]]);
    assert!(!report.findings.iter().any(|f| f.check == Check::Cors && f.level == Level::Good));
}

#[tokio::test]
async fn two_lines_of_challenges_are_read_as_one() {
    let server = Server::start(Some(Break::BasicLineFirst)).await;
    let report = text(&mut examine(&server, None).await);
    assert!(
        report.contains("401 that points to") && !report.contains("names no resource_metadata"),
        "{report}"
    );
}

#[tokio::test]
async fn the_times_of_a_certificate_are_dates() {
    let server = Server::start(Some(Break::CertificateExpired)).await;
    let report = text(&mut examine(&server, None).await);
    assert!(
        report.contains("is not valid after 2021-01-01T00:00:00Z (") && !report.contains("UNIX"),
        "{report}"
    );
}

#[tokio::test]
async fn a_401_without_a_challenge_is_told_once() {
    let server = Server::start(Some(Break::NoChallenge)).await;
    let report = text(&mut examine(&server, None).await);
    assert!(!report.contains("GET") && !report.contains("DELETE"), "{report}");
}

#[tokio::test]
async fn what_every_client_meets_is_told_once() {
    for (broken, check) in [
        (Break::RegistrationFails, Check::Unavailable),
        (Break::RegistrationNameUnknown, Check::Registration),
        (Break::RegistrationFloat, Check::Registration),
        (Break::TokenFails, Check::Unavailable),
        (Break::TokenIsText, Check::Token),
    ] {
        let server = Server::start(Some(broken)).await;
        let mut report = examine(&server, None).await;
        let told = report.findings.iter().filter(|f| f.check == check && f.level == Level::Fault).count();
        assert_eq!(told, 1, "{broken:?}: {}", text(&mut report));
    }
}

#[tokio::test]
async fn a_server_that_is_slow_is_said_to_be_so_and_a_visit_has_an_end() {
    let server = Server::start(None).await;
    let at_once = Patience { slow: Duration::ZERO, ..Patience::default() };
    let report = text(&mut visit(&server, server.url.clone(), at_once, true, None).await);
    assert_eq!(report.matches("an answer took").count(), 1, "{report}");
    let none = Patience { whole: Duration::ZERO, ..Patience::default() };
    let mut report = visit(&server, server.url.clone(), none, true, None).await;
    let text = text(&mut report);
    assert!(text.contains("the visit ends here") && text.contains("as far as was looked"), "{text}");
    assert!(!report.has_faults(), "{text}");
}

#[tokio::test]
async fn a_page_that_was_not_looked_at_is_not_said_to_be_good() {
    let server = Server::start(None).await;
    let report = text(&mut visit(&server, server.url.clone(), Patience::default(), false, None).await);
    assert!(report.contains("the sign-in page was not looked at"), "{report}");
    assert!(
        report.contains("VS Code               finds nothing in its way, as far as was looked"),
        "{report}"
    );
}

#[tokio::test]
async fn a_password_in_the_url_is_not_printed() {
    let server = Server::start(None).await;
    let mut url = server.url.clone();
    url.set_username("alice").unwrap();
    url.set_password(Some("s3cret")).unwrap();
    let mut report = visit(&server, url, Patience::default(), true, None).await;
    let found = report.findings.iter().find(|f| f.check == Check::Url).unwrap();
    assert!(found.clients.contains(&Client::TypescriptSdk) && found.level == Level::Fault);
    let json = report.json();
    let text = text(&mut report);
    assert!(!text.contains("s3cret") && !json.contains("s3cret") && !text.contains("alice"), "{text}");
}

#[tokio::test]
async fn a_registration_of_mcp_remote_that_is_still_good_is_left_alone() {
    let mut server = Server::start(None).await;
    server.saved = Some("client");
    let mut report = examine(&server, None).await;
    let level = report.findings.iter().find(|f| f.check == Check::Saved).unwrap().level;
    assert_eq!(level, Level::Good, "{}", text(&mut report));
}

#[test]
fn every_break_is_told_and_every_check_is_shown() {
    // The one that is meant so is a note, which has a test of its own.
    for broken in Break::ALL.iter().filter(|broken| **broken != Break::PagesRefused) {
        assert!(TOLD.iter().any(|(told, ..)| told == broken), "{broken:?} is in no row");
    }
    // The URL's own form needs no server that is broken.
    for check in Check::ALL.iter().filter(|c| **c != Check::Url) {
        assert!(TOLD.iter().any(|(_, told, ..)| told == check), "{check:?} is in no row");
    }
}

/// How each row of the README's table of troubles begins, and the servers that are broken in that way.
const ROWS: &[(&str, &[Break])] = {
    use Break::*;
    &[
        ("`Incompatible auth server", &[NoMetadata, NoRegistration]),
        ("Claude Code, claude.ai, Codex or VS Code", &[DocumentsUnusable]),
        (
            "A certificate error",
            &[
                CertificateUnknown,
                IntermediateMissing,
                CertificateOfOtherHost,
                CertificateExpired,
                PlainHttp,
                HandshakeEnds,
            ],
        ),
        ("`fetch failed`", &[NothingListens, NameUnknown, PrivateAddress, IssuerInside, Garbled]),
        ("Browser opens but shows 404", &[AuthorizeNotFound]),
        ("The user approves and nothing", &[ApprovalByForm, FormActionNone, FormActionInPage, Sandboxed]),
        ("HTML instead of JSON", &[LoginPage, WellKnownIsPage, TokenIsPage, IncidentPage, NotRouted]),
        ("`Protected resource", &[ResourceIsOrigin, ResourceWithSlash, ResourceOfOtherHost, PrefixStripped]),
        ("The same, or `405`", &[WwwRedirect, FoundRedirect, LoginRedirect]),
        ("`invalid_redirect_uri`", &[RegistrationRefusesCursor]),
        ("A client in a browser", &[NoPreflight, NothingExposed, ResourceClosed, TokenClosed]),
        ("A client keeps failing", &[StaleRegistration]),
        ("`429` or `503`", &[RateLimited]),
        ("\"… cannot be reached", &[BackendIncident]),
        ("A local user is asked", &[PasswordChanged]),
        ("`Your … session expired", &[SessionExpired]),
        ("The identity provider says", &[CallbackNotRegistered]),
        ("\"This sign-in was begun", &[CookieLost]),
        ("\"You may not use", &[NotAllowed]),
        ("503 `temporarily_unavailable`", &[StoreAway]),
        ("`… is refused: 10.0.0.1", &[BackendRefused]),
    ]
};

/// The README's table of troubles names the check that finds each, and each is shown on servers that have it.
#[test]
fn every_row_of_the_troubleshooting_table_is_a_check_of_servers_that_are_broken_so() {
    let readme = include_str!("../../../../../README.md");
    let (_, table) = readme.split_once("## Troubleshooting").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows: Vec<&str> =
        table.lines().skip_while(|l| !l.starts_with('|')).skip(2).take_while(|l| !l.is_empty()).collect();
    assert_eq!(rows.len(), ROWS.len(), "each row is here, and each of these is a row");
    for row in rows {
        let check = row.trim_matches(['|', ' ']).rsplit('|').next().unwrap().trim().trim_matches('`');
        let seen = row.trim_start_matches("| ");
        let found = ROWS.iter().find(|(begins, _)| seen.starts_with(begins));
        let (_, breaks) = found.unwrap_or_else(|| panic!("no server is broken in this way: {row}"));
        for broken in *breaks {
            let (_, told, ..) = TOLD.iter().find(|(told, ..)| told == broken).unwrap();
            assert_eq!(told.name(), check, "{broken:?}: {row}");
        }
        assert!(!breaks.is_empty(), "{row}");
    }
}
