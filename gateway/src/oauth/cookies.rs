//! The browser's side: one cookie per flow, and the session of a user.
//!
//! With an https issuer every name has `__Host-`: no other host can set it, and without Secure it is not read. With
//! http, which is loopback only, there is neither. The issuer's hash keeps servers on one host, and ports, apart.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    clock::{Entropy, random},
    model::{FlowId, Hash32},
    server::Urls,
};

/// How long a flow and its cookie live.
pub const FLOW_LIFE: std::time::Duration = std::time::Duration::from_secs(600);
/// How long a session lives, from its sign-in.
pub const SESSION_LIFE: std::time::Duration = std::time::Duration::from_secs(8 * 3600);
/// How many flow cookies one browser keeps: two tabs and a retry, without a header that servers refuse.
const FLOWS_KEPT: usize = 8;

/// A secret that a browser holds: 256 bits in base64url. Only its hash is stored.
#[derive(Clone)]
pub struct CookieSecret(Zeroizing<String>);

impl std::fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieSecret(..)")
    }
}

impl CookieSecret {
    /// A new secret.
    pub fn mint(entropy: &dyn Entropy) -> Self {
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(random::<32>(entropy))))
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        (bytes.len() == 32).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// What is stored.
    pub fn hash(&self) -> Hash32 {
        Hash32::of(self.0.as_bytes())
    }

    /// The key of what only this browser may read again.
    pub fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The nonce of the consent page's links. A page can show it again, and who does not hold the cookie cannot know
    /// it.
    pub fn nonce(&self, flow: &FlowId) -> String {
        self.derive(b"nonce", flow)
    }

    /// The token of the sign-in form.
    pub fn form_token(&self, flow: &FlowId) -> String {
        self.derive(b"form", flow)
    }

    /// Whether `presented` is the form's token; constant time.
    pub fn is_form_token(&self, flow: &FlowId, presented: &str) -> bool {
        self.form_token(flow).as_bytes().ct_eq(presented.as_bytes()).into()
    }

    /// The token of the forms on the account page, which belong to the session.
    pub fn account_token(&self) -> String {
        self.mac(&[b"account"])
    }

    /// Whether `presented` is the session's token; constant time.
    pub fn is_account_token(&self, presented: &str) -> bool {
        self.account_token().as_bytes().ct_eq(presented.as_bytes()).into()
    }

    fn derive(&self, purpose: &[u8], flow: &FlowId) -> String {
        self.mac(&[purpose, flow.as_bytes()])
    }

    fn mac(&self, parts: &[&[u8]]) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("any key length");
        for part in parts {
            mac.update(part);
        }
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    }
}

/// The names of one server's cookies.
#[derive(Debug)]
pub struct Jar<'a> {
    urls: &'a Urls,
    headers: &'a HeaderMap,
}

impl<'a> Jar<'a> {
    /// The cookies of a request.
    pub fn new(urls: &'a Urls, headers: &'a HeaderMap) -> Self {
        Self { urls, headers }
    }

    /// The cookie of a flow.
    pub fn flow(&self, id: &FlowId) -> Option<CookieSecret> {
        self.get(&id.to_string())
    }

    /// The cookie of the session.
    pub fn session(&self) -> Option<CookieSecret> {
        self.get(SESSION)
    }

    /// The headers that set a flow's cookie and drop all but the newest.
    pub fn set_flow(&self, id: &FlowId, secret: &CookieSecret) -> Vec<HeaderValue> {
        let mut others: Vec<FlowId> = self.names().filter(|other| other != id).collect();
        others.sort_unstable();
        others.dedup();
        let surplus = (others.len() + 1).saturating_sub(FLOWS_KEPT);
        let dropped = others.iter().take(surplus).map(|old| self.write(&old.to_string(), "", 0));
        let kept = self.write(&id.to_string(), &secret.0, FLOW_LIFE.as_secs());
        dropped.chain([kept]).flatten().collect()
    }

    /// The header that sets the session's cookie.
    pub fn set_session(&self, secret: &CookieSecret) -> Option<HeaderValue> {
        self.write(SESSION, &secret.0, SESSION_LIFE.as_secs())
    }

    /// The header that drops the session's cookie.
    pub fn drop_session(&self) -> Option<HeaderValue> {
        self.write(SESSION, "", 0)
    }

    /// The text of the cookie by which the browser is known, unproven.
    pub fn browser(&self) -> Option<&str> {
        self.text(BROWSER)
    }

    /// The header that sets the cookie by which the browser is known.
    pub fn set_browser(&self, value: &str, life: std::time::Duration) -> Option<HeaderValue> {
        self.write(BROWSER, value, life.as_secs())
    }

    /// The flows whose cookies the browser sent; a flow's id begins with its time.
    fn names(&self) -> impl Iterator<Item = FlowId> {
        let prefix = prefix(self.urls);
        self.pairs().filter_map(move |(name, _)| FlowId::parse(name.strip_prefix(&prefix)?))
    }

    fn get(&self, suffix: &str) -> Option<CookieSecret> {
        self.text(suffix).and_then(CookieSecret::parse)
    }

    fn text(&self, suffix: &str) -> Option<&str> {
        let name = format!("{}{suffix}", prefix(self.urls));
        self.pairs().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let lines = self.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
        let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
        // One that is not ASCII is another site's, and hides none of ours. Nor may it become one of ours: a browser that
        // keeps `__Host-` for us lets a sibling host set a name that begins with another kind of blank.
        pairs.filter_map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.is_ascii())?;
            pair.trim_matches([' ', '\t']).split_once('=')
        })
    }

    fn write(&self, suffix: &str, value: &str, max_age: u64) -> Option<HeaderValue> {
        let secure = if self.urls.insecure_loopback { "" } else { "; Secure" };
        let cookie = format!(
            "{}{suffix}={value}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Lax{secure}",
            prefix(self.urls)
        );
        let mut header = HeaderValue::from_str(&cookie).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

const SESSION: &str = "s";
const BROWSER: &str = "b";

fn prefix(urls: &Urls) -> String {
    let hash = Hash32::of(urls.issuer.as_bytes());
    let [a, b, c, d, ..] = hash.as_bytes();
    let host = if urls.insecure_loopback { "" } else { "__Host-" };
    format!("{host}gh-{a:02x}{b:02x}{c:02x}{d:02x}-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, SeededEntropy};

    fn urls(origin: &str) -> Urls {
        Urls::new(&format!("{origin}/mcp"), origin).unwrap()
    }

    fn cookie_header(set: &[HeaderValue]) -> HeaderMap {
        let pairs: Vec<_> =
            set.iter().map(|v| v.to_str().unwrap().split(';').next().unwrap().to_owned()).collect();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&pairs.join("; ")).unwrap())])
    }

    #[test]
    fn a_cookie_is_bound_to_its_host_flow_and_issuer() {
        let (urls, none) = (urls("https://h.example"), HeaderMap::new());
        let entropy = SeededEntropy::new(1);
        let (clock, secret) = (ManualClock::at(1_790_000_000), CookieSecret::mint(&entropy));
        let id = FlowId::new(&clock, &entropy);
        let set = Jar::new(&urls, &none).set_flow(&id, &secret);
        let text = set[0].to_str().unwrap();
        assert!(text.starts_with("__Host-gh-"), "{text}");
        assert!(text.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"), "{text}");
        let sent = cookie_header(&set);
        assert_eq!(Jar::new(&urls, &sent).flow(&id).unwrap().hash(), secret.hash());
        assert!(Jar::new(&urls, &sent).flow(&FlowId::new(&clock, &entropy)).is_none());
        let other = super::tests::urls("https://h.example:8443");
        assert!(Jar::new(&other, &sent).flow(&id).is_none());
        // Without `__Host-` it may come from another host, so it is not ours.
        let bare = sent[header::COOKIE].to_str().unwrap().replace("__Host-", "");
        let bare = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_str(&bare).unwrap())]);
        assert!(Jar::new(&urls, &bare).flow(&id).is_none());
    }

    #[test]
    fn a_cookie_that_is_no_text_hides_none_of_ours() {
        let (urls, entropy) = (urls("https://h.example"), SeededEntropy::new(1));
        let (secret, id) = (CookieSecret::mint(&entropy), FlowId::new(&ManualClock::at(0), &entropy));
        let ours = Jar::new(&urls, &HeaderMap::new()).set_flow(&id, &secret)[0].clone();
        let ours = ours.as_bytes().split(|byte| *byte == b';').next().unwrap();
        for line in [[b"a=\xe9; ", ours].concat(), [ours, "; b=é".as_bytes()].concat()] {
            let sent = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_bytes(&line).unwrap())]);
            assert_eq!(Jar::new(&urls, &sent).flow(&id).unwrap().hash(), secret.hash());
        }
        // Other blanks before the name make another name, of which browsers do not keep sibling hosts.
        for blank in ["\u{2000}", "\u{a0}", "\u{85}", "\u{b}", "\u{c}"] {
            let line = [blank.as_bytes(), ours].concat();
            let Ok(value) = HeaderValue::from_bytes(&line) else { continue };
            let sent = HeaderMap::from_iter([(header::COOKIE, value)]);
            assert!(Jar::new(&urls, &sent).flow(&id).is_none(), "{blank:?}");
        }
    }

    #[test]
    fn on_http_loopback_there_is_neither_host_prefix_nor_secure() {
        let (urls, none) = (urls("http://localhost:8080"), HeaderMap::new());
        let entropy = SeededEntropy::new(1);
        let id = FlowId::new(&ManualClock::at(0), &entropy);
        let set = Jar::new(&urls, &none).set_flow(&id, &CookieSecret::mint(&entropy));
        let text = set[0].to_str().unwrap();
        assert!(text.starts_with("gh-") && !text.contains("Secure"), "{text}");
    }

    #[test]
    fn the_newest_eight_flows_are_kept() {
        let (urls, entropy, clock) =
            (urls("https://h.example"), SeededEntropy::new(1), ManualClock::at(1_790_000_000));
        let none = HeaderMap::new();
        let mut sent = Vec::new();
        for _ in 0..200 {
            clock.advance(std::time::Duration::from_secs(1));
            let id = FlowId::new(&clock, &entropy);
            sent.extend(Jar::new(&urls, &none).set_flow(&id, &CookieSecret::mint(&entropy)));
        }
        let headers = cookie_header(&sent);
        let id = FlowId::new(&clock, &entropy);
        let set = Jar::new(&urls, &headers).set_flow(&id, &CookieSecret::mint(&entropy));
        let dropped = set.iter().filter(|v| v.to_str().unwrap().contains("Max-Age=0")).count();
        assert_eq!((set.len(), dropped), (194, 193));
    }

    #[test]
    fn tokens_belong_to_flow_and_purpose() {
        let entropy = SeededEntropy::new(1);
        let (a, b) = (CookieSecret::mint(&entropy), CookieSecret::mint(&entropy));
        let clock = ManualClock::at(0);
        let (x, y) = (FlowId::new(&clock, &entropy), FlowId::new(&clock, &entropy));
        assert_eq!(a.nonce(&x), a.nonce(&x));
        for other in [a.nonce(&y), b.nonce(&x), a.form_token(&x)] {
            assert_ne!(a.nonce(&x), other);
        }
        assert!(a.is_form_token(&x, &a.form_token(&x)) && !a.is_form_token(&x, &b.form_token(&x)));
    }
}
