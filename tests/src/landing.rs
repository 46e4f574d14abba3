//! Where a client takes its users back from the browser, at the other end of a redirect URI: not before the browser is
//! there has a sign-in arrived.

use std::{path::Path, sync::Arc};

use axum::{Router, http::Uri, response::Html, routing::get};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::{
    net::{PATIENCE, Server, eventually},
    oauth::REDIRECT_URI,
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
    _tls: JoinSet<()>,
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
        let mut tls = JoinSet::new();
        let redirect_uri = match place {
            Place::Web => format!("https://{WEB_HOST}:{}/callback", tls_before(&server, &mut tls).await),
            Place::Loopback => format!("{}/callback", server.origin()),
            Place::Application => REDIRECT_URI.to_owned(),
        };
        Self { redirect_uri, place, arrived, started: 0, _server: server, _tls: tls }
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

/// Listens with TLS before a server, and says where.
async fn tls_before(server: &Server, tasks: &mut JoinSet<()>) -> u16 {
    let directory = TempDir::new().expect("a temporary directory");
    let (key, certificate) = (directory.path().join("key.pem"), directory.path().join("certificate.pem"));
    self_signed(&key, &certificate).await;
    let key = PrivateKeyDer::from_pem_file(&key).expect("openssl's key");
    let certificate = CertificateDer::from_pem_file(&certificate).expect("openssl's certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("ring has them").with_no_client_auth();
    let config = config.with_single_cert(vec![certificate], key).expect("they belong together");
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback can be bound");
    let port = listener.local_addr().expect("it is bound").port();
    let behind = server.address;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            connections.spawn(async move {
                // Browsers open connections that they do not use, and end others as they like.
                let Ok(mut before) = tls.accept(stream).await else { return };
                let Ok(mut behind) = TcpStream::connect(behind).await else { return };
                let _ = copy_bidirectional(&mut before, &mut behind).await;
            });
        }
    });
    port
}

async fn self_signed(key: &Path, certificate: &Path) {
    let mut command = Command::new("openssl");
    command
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-subj", &format!("/CN={WEB_HOST}"), "-addext", &format!("subjectAltName=DNS:{WEB_HOST}")])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate);
    let output = command.output().await.expect("openssl is installed (tests/run installs it)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
