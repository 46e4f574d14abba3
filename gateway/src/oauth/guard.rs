//! What browsers say about how a request came about (Fetch Metadata). Absent headers pass: the cookie and the nonce
//! are what is required, this is one more fence.

use axum::http::HeaderMap;

use super::Failure;

fn is(headers: &HeaderMap, name: &str, allowed: &[&str]) -> bool {
    headers.get_all(name).iter().all(|value| value.to_str().is_ok_and(|value| allowed.contains(&value)))
}

/// A link that has an effect: opened by the user as a page, from our own page or the address bar, never ahead of time.
pub fn navigation(headers: &HeaderMap) -> Result<(), Failure> {
    let by_user = is(headers, "sec-fetch-site", &["same-origin", "none"]) && page(headers).is_ok();
    if by_user { Ok(()) } else { Err(Failure::NotByUser) }
}

/// A page of its own, whichever site its link is on: not something that another page loads in itself or ahead of time, which
/// nobody sees and which would use up what its reader's address may ask for.
pub fn page(headers: &HeaderMap) -> Result<(), Failure> {
    let seen = is(headers, "sec-fetch-dest", &["document"])
        && !headers.contains_key("sec-purpose")
        && !headers.contains_key("purpose");
    if seen { Ok(()) } else { Err(Failure::NotByUser) }
}

/// A form of ours. `Origin` is no guard: under `no-referrer` browsers send `null`.
pub fn form(headers: &HeaderMap) -> Result<(), Failure> {
    if is(headers, "sec-fetch-site", &["same-origin"]) { Ok(()) } else { Err(Failure::NotByUser) }
}
