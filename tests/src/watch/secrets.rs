//! The secrets that pass in an exchange: none of them may be found in a log, a metric or Redis.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::header;
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::Exchange;

/// Parameters that carry a secret, in queries, forms and redirects.
const PARAMETERS: [&str; 9] = [
    "access_token",
    "client_assertion",
    "client_secret",
    "code",
    "code_verifier",
    "nonce",
    "password",
    "refresh_token",
    "token",
];
/// Shorter texts are no secrets of ours, and stand in logs by chance.
pub(super) const SHORTEST: usize = 16;

/// Every secret of an exchange.
pub(super) fn of(exchange: &Exchange<'_>) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(parameters(exchange.uri.query().unwrap_or_default()));
    found.extend(parameters(exchange.question));
    let location = exchange.headers.get(header::LOCATION).and_then(|v| v.to_str().ok());
    if let Some(url) = location.and_then(|l| Url::parse(l).ok()) {
        // Beside a challenge, `nonce` is the one of OpenID Connect, which is no secret.
        let of_ours = url.query_pairs().all(|(name, _)| name != "code_challenge");
        found.extend(parameters(url.query().unwrap_or_default()).into_iter().filter(|_| of_ours));
    }
    let answer: Value = serde_json::from_str(exchange.answer).unwrap_or_default();
    let members = PARAMETERS.iter().filter_map(|name| answer[*name].as_str());
    found.extend(members.map(str::to_owned));
    for value in exchange.headers.get_all(header::SET_COOKIE).iter().filter_map(|v| v.to_str().ok()) {
        let pair = value.split(';').next().and_then(|pair| pair.split_once('='));
        found.extend(pair.map(|(_, secret)| secret.to_owned()));
    }
    for value in exchange.asked.get_all(header::AUTHORIZATION).iter().filter_map(|v| v.to_str().ok()) {
        let Some((_, secret)) = value.split_once(' ') else { continue };
        let decoded = STANDARD.decode(secret).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        found.extend(decoded.and_then(|pair| Some(pair.split_once(':')?.1.to_owned())));
        found.push(secret.trim().to_owned());
    }
    // A client id is public, wherever it is tried.
    found.retain(|secret| secret.len() >= SHORTEST && !secret.starts_with("gc_"));
    found
}

fn parameters(encoded: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(encoded.as_bytes());
    pairs
        .filter(|(name, _)| PARAMETERS.contains(&name.as_ref()))
        .map(|(_, value)| value.into_owned())
        .collect()
}
