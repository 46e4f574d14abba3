//! Where a client takes its users back from the browser, at the other end of a redirect URI: not before the browser is
//! there has a sign-in arrived.

use axum::{Router, http::Uri, response::Html, routing::get};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use url::Url;

use crate::{
    net::{PATIENCE, Server, eventually},
    oauth::REDIRECT_URI,
    tls::Terminator,
    webdriver::{WEB_HOST, WebDriver},
};

/// What runs at a redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A web server with TLS, on a host of its own.
    Web,
    /// A native client's own server.
    Loopback,
    /// An application with a scheme of its own, which the browser starts.
    Application,
}

/// A client's end of the sign-in.
#[derive(Debug)]
pub struct Landing {
    /// Where codes go.
    pub redirect_uri: String,
    /// What runs there.
    pub place: Place,
    arrived: mpsc::UnboundedReceiver<String>,
    /// How many starts of the application have been looked at.
    started: usize,
    _server: Server,
    _tls: Option<Terminator>,
}

impl Landing {
    /// Starts one.
    pub async fn start(place: Place) -> Self {
        let (sender, arrived) = mpsc::unbounded_channel();
        let answer = async move |uri: Uri| {
            // The receiver lives as long as the server.
            let _ = sender.send(uri.to_string());
            Html("<!doctype html><title>Signed in</title><h1>Signed in</h1>")
        };
        let server = Server::start(Router::new().route("/callback", get(answer))).await;
        let mut tls = None;
        let redirect_uri = match place {
            Place::Web => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback can be bound");
                let port = listener.local_addr().expect("it is bound").port();
                tls = Some(Terminator::before(listener, WEB_HOST, server.address));
                format!("https://{WEB_HOST}:{port}/callback")
            }
            Place::Loopback => format!("{}/callback", server.origin()),
            Place::Application => REDIRECT_URI.to_owned(),
        };
        Self { redirect_uri, place, arrived, started: 0, _server: server, _tls: tls }
    }

    /// Whether no browser came to its server that was not looked at.
    pub fn is_untouched(&self) -> bool {
        self.arrived.is_empty()
    }

    /// The code of the next answer.
    pub async fn code(&mut self, browser: &WebDriver) -> String {
        let answer = self.next(browser).await;
        let code = answer.query_pairs().find(|(name, _)| name == "code").map(|(_, code)| code.into_owned());
        code.unwrap_or_else(|| panic!("no code: {answer}"))
    }

    /// The next address at which `browser` arrives, or for which it starts the application.
    pub async fn next(&mut self, browser: &WebDriver) -> Url {
        let arrived = if self.place == Place::Application {
            let started = eventually("the application to be started", async || {
                browser.applications().get(self.started).cloned()
            })
            .await;
            self.started += 1;
            started
        } else {
            let arrived = timeout(PATIENCE, self.arrived.recv()).await;
            let path = arrived.expect("the browser comes to the callback").expect("the server lives");
            let base = Url::parse(&self.redirect_uri).expect("it is a URL");
            base.join(&path).expect("a path").into()
        };
        assert!(arrived.starts_with(&format!("{}?", self.redirect_uri)), "{arrived}");
        Url::parse(&arrived).expect("the browser understood it")
    }
}
