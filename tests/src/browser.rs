//! A user's browser without script: cookies, redirects, links and forms. It sends what Chromium sends of
//! `Sec-Fetch-*`, so that what is refused there is refused here.

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::{
    Client, Method, RequestBuilder, StatusCode,
    header::{COOKIE, LOCATION, SET_COOKIE},
};
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use crate::{
    html::{self, Form},
    net::http,
};

/// A browser in which one user sits.
#[derive(Debug)]
pub struct Browser {
    user: String,
    password: String,
    http: Client,
    cookies: Mutex<Vec<Cookie>>,
    visits: AtomicUsize,
    /// An address out on the internet, or of a client that does not run: it stops there.
    end: Option<String>,
}

#[derive(Debug, Clone)]
struct Cookie {
    host: String,
    path: String,
    name: String,
    value: String,
}

/// What a visit ended with.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its address.
    pub url: Url,
    /// Its status; 0 for an address that is no http URL, such as an application's own scheme.
    pub status: u16,
    /// Its headers as `name: value` lines.
    pub headers: String,
    /// Its source.
    pub body: String,
}

/// Where a navigation started, which `Sec-Fetch-Site` tells.
#[derive(Debug, Clone)]
enum From {
    AddressBar,
    Page(Url),
}

impl Browser {
    /// A fresh browser of a user whose password is the name, as in the demo.
    pub fn of(user: &str) -> Self {
        Self::with_password(user, user)
    }

    /// A fresh browser of a user.
    pub fn with_password(user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            http: http(),
            cookies: Mutex::default(),
            visits: AtomicUsize::new(0),
            end: None,
        }
    }

    /// The same, which does not open an address that begins like this: it stops there, as at an application's own
    /// scheme.
    #[must_use]
    pub fn stopping_at(self, end: &str) -> Self {
        Self { end: Some(end.to_owned()), ..self }
    }

    /// The same, asking through this HTTP client.
    #[must_use]
    pub fn through(self, http: Client) -> Self {
        Self { http, ..self }
    }

    /// Goes the whole way that a client's authorization URL begins: signs in wherever it is asked to, approves, and
    /// ends at the client's callback or at a page that leads no further.
    pub async fn sign_in(&self, url: &str) -> Page {
        let mut page = self.open(url).await;
        // Sign-in, consent, the provider's own page and a second consent are five; more is a loop.
        for _ in 0..8 {
            // An error page may offer another try, which is the test's to take.
            if page.status >= 400 {
                return page;
            }
            page = match self.next(&page).await {
                Some(next) => next,
                None => return page,
            };
        }
        panic!("{url} leads round in a circle; last at {}:\n{}", page.url, page.body)
    }

    /// The one step that leads on from `page`: its sign-in form or its approval link.
    pub async fn next(&self, page: &Page) -> Option<Page> {
        if let Some(form) = page.sign_in_form() {
            return Some(self.submit(page, &form).await);
        }
        let link = page.approve_link()?;
        Some(self.follow(page, &link).await)
    }

    /// Presses the button whose value is this.
    ///
    /// # Panics
    /// When the page has no such button.
    pub async fn press(&self, page: &Page, value: &str) -> Page {
        let forms = html::forms(&page.body);
        let form = forms
            .iter()
            .find(|form| form.fields.iter().any(|f| f.name == "button" && f.get("value") == Some(value)));
        let form = form.unwrap_or_else(|| panic!("{} has no button {value:?}:\n{}", page.url, page.body));
        self.submit(page, form).await
    }

    /// Types an address.
    pub async fn open(&self, url: &str) -> Page {
        let url = Url::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
        self.navigate(Method::GET, url, None, From::AddressBar).await
    }

    /// Clicks a link.
    pub async fn follow(&self, page: &Page, href: &str) -> Page {
        let url = page.url.join(href).unwrap_or_else(|e| panic!("{href}: {e}"));
        self.navigate(Method::GET, url, None, From::Page(page.url.clone())).await
    }

    /// Who sits in it.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// How many requests it has sent.
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }

    /// Forgets every cookie.
    pub async fn forget(&self) {
        self.cookies.lock().await.clear();
    }

    /// The names of the cookies it holds.
    pub async fn cookie_names(&self) -> Vec<String> {
        self.cookies.lock().await.iter().map(|c| c.name.clone()).collect()
    }

    /// What it would send along to an address, as a `Cookie` header.
    pub async fn cookies_for(&self, url: &Url) -> String {
        let cookies = self.cookies.lock().await;
        let sent: Vec<String> =
            cookies.iter().filter(|c| c.is_for(url)).map(|c| format!("{}={}", c.name, c.value)).collect();
        sent.join("; ")
    }

    async fn submit(&self, page: &Page, form: &Form) -> Page {
        let body = self.filled(form);
        let mut url = page.url.join(&form.action).expect("the form's action is a URL");
        let from = From::Page(page.url.clone());
        if form.post {
            self.navigate(Method::POST, url, Some(body), from).await
        } else {
            url.set_query(Some(&body));
            self.navigate(Method::GET, url, None, from).await
        }
    }

    /// What the user makes of a form.
    fn filled(&self, form: &Form) -> String {
        let mut body = form_urlencoded::Serializer::new(String::new());
        let mut pressed = false;
        for field in &form.fields {
            let Some(name) = field.get("name") else { continue };
            let kind = field.get("type").unwrap_or(if field.name == "button" { "submit" } else { "text" });
            let value = match kind {
                "password" => self.password.as_str(),
                "text" | "email" => self.user.as_str(),
                "submit" if pressed => continue,
                "submit" => {
                    pressed = true;
                    field.get("value").unwrap_or("")
                }
                _ => field.get("value").unwrap_or(""),
            };
            body.append_pair(name, value);
        }
        body.finish()
    }

    async fn navigate(&self, mut method: Method, mut url: Url, mut body: Option<String>, from: From) -> Page {
        let mut site = Site::None;
        for _ in 0..20 {
            let ends = self.end.as_ref().is_some_and(|end| url.as_str().starts_with(end));
            if ends || !matches!(url.scheme(), "http" | "https") {
                return Page { url, status: 0, headers: String::new(), body: String::new() };
            }
            if let From::Page(start) = &from {
                site = site.max(Site::between(start, &url));
            }
            self.visits.fetch_add(1, Ordering::Relaxed);
            let request = self.request(method.clone(), &url, body.as_deref(), site).await;
            let response = request.send().await.unwrap_or_else(|e| panic!("{method} {url}: {e}"));
            let status = response.status();
            self.keep_cookies(&url, response.headers()).await;
            let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
            if let Some(location) = location.filter(|_| status.is_redirection()) {
                url = url.join(&location).unwrap_or_else(|e| panic!("redirected to {location}: {e}"));
                if !matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT) {
                    method = Method::GET;
                    body = None;
                }
                continue;
            }
            let headers: Vec<String> = response
                .headers()
                .iter()
                .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
                .collect();
            let headers = headers.join("\n");
            return Page {
                url,
                status: status.as_u16(),
                headers,
                body: response.text().await.unwrap_or_default(),
            };
        }
        panic!("more than 20 redirects, last to {url}")
    }

    async fn request(&self, method: Method, url: &Url, body: Option<&str>, site: Site) -> RequestBuilder {
        let mut request = self
            .http
            .request(method, url.clone())
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("sec-fetch-site", site.name())
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-user", "?1");
        let cookies = self.cookies_for(url).await;
        if !cookies.is_empty() {
            request = request.header(COOKIE, cookies);
        }
        if let Some(body) = body {
            // `no-referrer` pages post with an opaque origin.
            request =
                request.header("content-type", "application/x-www-form-urlencoded").header("origin", "null");
            request = request.body(body.to_owned());
        }
        request
    }

    async fn keep_cookies(&self, url: &Url, headers: &reqwest::header::HeaderMap) {
        let mut cookies = self.cookies.lock().await;
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|v| v.to_str().ok()) {
            let mut parts = line.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|p| p.split_once('=')) else { continue };
            let mut path = "/".to_owned();
            let mut gone = false;
            for part in parts {
                let (attribute, text) = part.split_once('=').unwrap_or((part, ""));
                match attribute.to_ascii_lowercase().as_str() {
                    "path" => text.clone_into(&mut path),
                    "max-age" => gone = text.parse::<i64>().is_ok_and(|s| s <= 0),
                    _ => {}
                }
            }
            let host = url.host_str().unwrap_or_default().to_owned();
            cookies.retain(|c| !(c.host == host && c.name == name && c.path == path));
            if !gone {
                cookies.push(Cookie { host, path, name: name.to_owned(), value: value.to_owned() });
            }
        }
    }
}

impl Cookie {
    fn is_for(&self, url: &Url) -> bool {
        let below = url.path().strip_prefix(self.path.trim_end_matches('/'));
        url.host_str() == Some(&self.host)
            && below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Page {
    /// The link that approves.
    pub fn approve_link(&self) -> Option<String> {
        self.decision_link(false)
    }

    /// The link that denies.
    pub fn deny_link(&self) -> Option<String> {
        self.decision_link(true)
    }

    /// A link whose target contains `text`.
    pub fn link(&self, text: &str) -> Option<String> {
        html::links(&self.body).into_iter().find(|l| l.contains(text))
    }

    /// The fields of the form that has a button with this value, the button among them.
    pub fn form(&self, value: &str) -> Option<std::collections::HashMap<String, String>> {
        let forms = html::forms(&self.body);
        let of =
            |form: &Form| form.fields.iter().any(|f| f.name == "button" && f.get("value") == Some(value));
        let pairs = forms.iter().find(|form| of(form))?.fields.iter();
        let pairs =
            pairs.filter_map(|f| Some((f.get("name")?.to_owned(), f.get("value").unwrap_or("").to_owned())));
        Some(pairs.collect())
    }

    /// A parameter of its address.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
    }

    fn decision_link(&self, deny: bool) -> Option<String> {
        html::links(&self.body)
            .into_iter()
            .find(|l| l.contains("/oauth/authorize/approve") && l.contains("decision=deny") == deny)
    }

    fn sign_in_form(&self) -> Option<Form> {
        html::forms(&self.body).into_iter().find(|form| {
            // Our own page asks for a password, the stand-in providers for a name only.
            form.fields.iter().any(|f| f.get("type") == Some("password") || f.get("name") == Some("login"))
        })
    }
}

/// `Sec-Fetch-Site`, in the order in which a redirect chain can only get worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Site {
    None,
    Origin,
    Host,
    Elsewhere,
}

impl Site {
    fn between(from: &Url, to: &Url) -> Self {
        if from.origin() == to.origin() {
            Self::Origin
        } else if from.host() == to.host() && from.scheme() == to.scheme() {
            // A site has no port.
            Self::Host
        } else {
            Self::Elsewhere
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Origin => "same-origin",
            Self::Host => "same-site",
            Self::Elsewhere => "cross-site",
        }
    }
}
