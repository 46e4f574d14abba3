//! The authorization server's metadata: RFC 8414, or OpenID Connect discovery.

use serde_json::{Map, Value};
use url::Url;

use super::{
    document::{nulls_and_blanks, object, report_mark, short},
    finding::{Check, Client},
    instead::Instead,
    outside::is_loopback,
    visit::Visit,
};

/// What says that a client may come with a document of its own.
const DOCUMENTS: &str = "client_id_metadata_document_supported";
const WHAT: &str =
    "the authorization server's metadata (without it clients say \"Incompatible auth server\")";
/// Clients that compare the issuer letter by letter.
const EXACT: &[Client] = &[
    Client::ClaudeCode,
    Client::Codex,
    Client::TypescriptSdk,
    Client::PythonSdk,
    Client::RustSdk,
    Client::Browser,
];
/// Clients that have a metadata document of their own, and need no registration where that is accepted.
const WITHOUT_DOCUMENT: &[Client] = &[
    Client::Cursor,
    Client::McpRemote,
    Client::TypescriptSdk,
    Client::PythonSdk,
    Client::RustSdk,
    Client::Browser,
];

/// What the next checks need.
#[derive(Debug)]
pub(super) struct Issuer {
    /// Where the metadata is.
    pub(super) place: Url,
    /// Where users sign in.
    pub(super) authorization_endpoint: Option<Url>,
    /// Where codes are redeemed.
    pub(super) token_endpoint: Option<Url>,
    /// Where clients register.
    pub(super) registration_endpoint: Option<Url>,
    /// Whether a client may come with a document of its own.
    pub(super) takes_documents: bool,
}

/// Reads and judges the metadata of `issuer`.
pub(super) async fn check(visit: &mut Visit, issuer: &str) -> Option<Issuer> {
    let Ok(url) = Url::parse(issuer) else {
        visit.report.fault(
            Check::Issuer,
            Client::ALL,
            format!("the authorization server {:?} is not a URL.", short(issuer)),
            "Name an https URL.",
        );
        return None;
    };
    let path = url.path().trim_end_matches('/').to_owned();
    let places = [
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
        format!("{path}/.well-known/openid-configuration"),
    ];
    let mut first: Option<(Instead, Url)> = None;
    let mut found = None;
    for place in places.iter().filter_map(|p| url.join(p).ok()) {
        match object(visit.get(&place).await) {
            Ok((document, answer)) => {
                report_mark(visit, Check::Issuer, "the authorization server's metadata", &answer);
                found = Some((document, place));
                break;
            }
            Err(instead) => {
                let more_telling = first.as_ref().is_none_or(|(i, _)| i.is_absent() && !instead.is_absent());
                if more_telling {
                    first = Some((instead, place));
                }
            }
        }
    }
    let Some((document, place)) = found else {
        if let Some((instead, place)) = first {
            instead.report(visit, Check::Issuer, Client::ALL, WHAT, &place);
        }
        return None;
    };
    judge(visit, &document, &place, issuer);
    let endpoint = |name: &str| document.get(name).and_then(Value::as_str).and_then(|u| Url::parse(u).ok());
    let read = Issuer {
        authorization_endpoint: endpoint("authorization_endpoint"),
        token_endpoint: endpoint("token_endpoint"),
        registration_endpoint: endpoint("registration_endpoint"),
        takes_documents: document.get(DOCUMENTS) == Some(&Value::Bool(true)),
        place,
    };
    if !visit.report.blames(Check::Issuer) {
        visit.report.good(Check::Issuer, format!("{} is complete", read.place));
    }
    Some(read)
}

fn judge(visit: &mut Visit, document: &Map<String, Value>, place: &Url, issuer: &str) {
    let report = &mut visit.report;
    let named = document.get("issuer").and_then(Value::as_str).unwrap_or_default();
    if named.is_empty() {
        report.fault(
            Check::Issuer,
            Client::ALL,
            format!("{place} does not say its `issuer`."),
            format!("Add \"issuer\": {:?} (RFC 8414 section 2).", short(issuer)),
        );
    } else if named != issuer {
        let slash = named.trim_end_matches('/') == issuer.trim_end_matches('/');
        let (clients, mend) = if slash {
            (EXACT, "Use one spelling in both: a slash at the end counts.")
        } else {
            (
                Client::ALL,
                "One of them is wrong: clients are sent to another authorization server than answers there, or that one does not know its public URL (scheme, host, port, path).",
            )
        };
        report.fault(
            Check::Issuer,
            clients,
            format!("{place} says that its issuer is {:?}, and clients ask for {:?}: they must be the same, letter by letter (RFC 8414 section 3.3).", short(named), short(issuer)),
            mend,
        );
    }
    let (nulls, blanks) = nulls_and_blanks(document);
    if !nulls.is_empty() || !blanks.is_empty() {
        report.fault(
            Check::Issuer,
            Client::STRICT,
            format!("{place} has null or nothing for {}.", [nulls, blanks].concat().join(", ")),
            "Leave members out that have no value.",
        );
    }
    let has = |name: &str, value: &str| {
        document.get(name).and_then(Value::as_array).is_some_and(|list| list.iter().any(|v| v == value))
    };
    for (name, value, why) in [
        ("response_types_supported", "code", "clients ask for a code"),
        ("code_challenge_methods_supported", "S256", "clients must refuse a server that does not say so"),
    ] {
        if !has(name, value) {
            report.fault(
                Check::Issuer,
                Client::ALL,
                format!("{name} of {place} does not list {value}: {why}."),
                format!("Add \"{name}\": [\"{value}\"]."),
            );
        }
    }
    endpoints(visit, document, place);
    ways_to_register(visit, document, place);
    if !document.contains_key("authorization_response_iss_parameter_supported") {
        visit.report.warn(
            Check::Issuer,
            "the authorization server does not say that it names itself in its answers (RFC 9207).",
            "Send `iss` with every authorization response, and say so: it keeps answers of two servers apart.",
        );
    }
}

fn endpoints(visit: &mut Visit, document: &Map<String, Value>, place: &Url) {
    for (name, needed) in
        [("authorization_endpoint", true), ("token_endpoint", true), ("registration_endpoint", false)]
    {
        let value = document.get(name).and_then(Value::as_str);
        let url = value.and_then(|v| Url::parse(v).ok());
        let report = &mut visit.report;
        match (value, url) {
            (None, _) if needed => report.fault(
                Check::Issuer,
                Client::ALL,
                format!("{place} has no {name}."),
                "Name it, as an absolute URL.",
            ),
            (Some(value), None) => report.fault(
                Check::Issuer,
                Client::ALL,
                format!("{name} of {place} is {:?}, not an absolute URL.", short(value)),
                "Name it, as an absolute URL.",
            ),
            (Some(_), Some(url)) if url.scheme() != "https" && !is_loopback(&url) => report.fault(
                Check::Issuer,
                Client::ALL,
                format!("{name} is {url}, which is not https."),
                "The server does not know its public URL: behind TLS it must say https. Gatehouse takes it from spec.url.",
            ),
            _ => {}
        }
    }
}

fn ways_to_register(visit: &mut Visit, document: &Map<String, Value>, place: &Url) {
    let report = &mut visit.report;
    let dynamic = document.get("registration_endpoint").is_some_and(Value::is_string);
    let by_document = document.get(DOCUMENTS) == Some(&Value::Bool(true));
    if let Some(said) = document.get(DOCUMENTS).filter(|said| !said.is_boolean()) {
        report.fault(
            Check::Issuer,
            Client::STRICT,
            format!("{DOCUMENTS} of {place} is {}, neither true nor false.", short(&said.to_string())),
            "Say true if clients may come with a metadata document of their own, else leave it out.",
        );
    }
    let methods = document.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    if !methods.is_some_and(|m| m.iter().any(|m| m == "none")) {
        report.warn(
            Check::Issuer,
            "token_endpoint_auth_methods_supported does not list `none`: clients on a user's machine cannot keep a secret, and use a metadata document of their own only where `none` is listed.",
            "List none, client_secret_post and client_secret_basic, as far as they work.",
        );
    }
    match (dynamic, by_document) {
        (false, false) => report.fault(
            Check::Issuer,
            Client::ALL,
            format!("{place} offers no way to register: no registration_endpoint, no client_id_metadata_document_supported. Clients say \"Incompatible auth server: does not support dynamic client registration\"."),
            "Offer one. In Gatehouse a policy says `registration.dynamic.mode: Refused`: allow it, or give the client an id of its own under `clients`.",
        ),
        (false, true) => report.fault(
            Check::Issuer,
            WITHOUT_DOCUMENT,
            "clients may come with a metadata document only: these have none unless their user names one.",
            "Allow dynamic registration too, or give such a client an id of its own.",
        ),
        (true, _) => {}
    }
}
