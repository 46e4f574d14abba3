//! An identity provider that says what it is told to, and a gateway's side of it: its documents and answers come from
//! elsewhere, and are parsed.

use std::{
    borrow::Cow,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatehouse_gateway::{
    clock::ManualClock,
    egress::Egress,
    identity::{Provider, Setup, UpstreamAnswer, UpstreamRequest, connect},
    model::{Profile, UpstreamTokens},
    refs::FixedRefs,
    server::Identity,
};
use gatehouse_gateway_config::EgressConfig;
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.test";
/// When [`ID_TOKEN`] was issued.
const NOW: i64 = 1_795_478_400;
const NONCE: &str = "the-nonce";
/// That of user 42, good for an hour and for [`NONCE`], signed with the one key of [`KEYS`], which signed nothing else.
const ID_TOKEN: &str = "eyJhbGciOiJFZERTQSIsImtpZCI6ImsxIn0.\
    eyJpc3MiOiJodHRwczovL2lkcC50ZXN0IiwiYXVkIjoidXBzdHJlYW0iLCJzdWIiOiI0MiIsImlhdCI6MTc5NTQ3ODQwMCwiZXhwIjoxNzk1NDgyMDAwLCJub25jZSI6InRoZS1ub25jZSJ9.\
    fJyrijaFs-DCJlCbrH-CZG9ZoT3KcQE1GChEAQmT-fmcWz4_wZ9ObfJnhA31nlbXBTvEYr-LbM4090GjQGmmAQ";
const KEYS: &str = "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\",\"alg\":\"EdDSA\",\"kid\":\"k1\",\
    \"x\":\"6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw\"}]}";
/// As long as a token is believed at most, in milliseconds: ten years.
const LONGEST: i64 = 315_360_000_000;

/// What a provider says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Token,
    Discovery,
    Keys,
    UserInfo,
}

/// What stands in the corpora of these parts as `{name}`.
pub(crate) const KNOWN: [(&str, &str); 2] = [("id_token", ID_TOKEN), ("keys", KEYS)];

impl Part {
    fn path(self) -> &'static str {
        match self {
            Self::Token => "/token",
            Self::Discovery => "/.well-known/openid-configuration",
            Self::Keys => "/keys",
            Self::UserInfo => "/userinfo",
        }
    }

    /// What it ought to be.
    fn right(self) -> Vec<u8> {
        let told = match self {
            Self::Token => {
                json!({"access_token": "upstream-42", "token_type": "Bearer", "id_token": ID_TOKEN})
            }
            Self::Discovery => json!({
                "issuer": ISSUER, "authorization_endpoint": format!("{ISSUER}/authorize"),
                "token_endpoint": format!("{ISSUER}/token"), "jwks_uri": format!("{ISSUER}/keys"),
                "userinfo_endpoint": format!("{ISSUER}/userinfo"),
            }),
            Self::Keys => return KEYS.as_bytes().to_vec(),
            Self::UserInfo => json!({"sub": "42"}),
        };
        told.to_string().into_bytes()
    }
}

/// The part that is not what it ought to be.
type Said = Option<(Part, Vec<u8>)>;

/// The provider. Each answer is what it ought to be, but one.
pub(crate) struct Upstream {
    pub(crate) url: String,
    said: Arc<Mutex<Said>>,
}

impl Upstream {
    /// Starts one, which lives as long as the process.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let said = Arc::new(Mutex::new(None));
        let tells = Arc::clone(&said);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let tells = Arc::clone(&tells);
                // Who asked and went is not told.
                std::thread::spawn(move || drop(answer(&stream, &tells)));
            }
        });
        Self { url, said }
    }

    /// Says this from now on; `None`: all is as it ought to be.
    pub(crate) fn says(&self, part: Option<(Part, &[u8])>) {
        let part = part.map(|(part, text)| (part, text.to_vec()));
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = part;
    }

    /// A gateway's side of it, which has fetched nothing yet.
    fn provider(&self) -> Arc<dyn Provider> {
        let config = json!({"oidc": {"issuer": ISSUER, "backchannelUrl": self.url, "clientId": "upstream"}});
        let config = serde_json::from_value(config).expect("the configuration is right");
        let allow = vec!["127.0.0.1".to_owned()];
        let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).expect("it is right");
        let setup = Setup {
            egress,
            refs: Arc::new(FixedRefs::default()),
            clock: Arc::new(ManualClock::at(NOW)),
            redirect_uri: "https://gw.test/oauth/callback".to_owned(),
        };
        match connect(&config, setup).expect("its URLs are right") {
            Identity::Provider(provider) => provider,
            Identity::Local(_) => unreachable!("it is not configured so"),
        }
    }

    /// Tries a sign-in, or what of it needs the part that says `text`; whether that succeeds. Whatever the provider says,
    /// nobody but user 42 signs in, and nobody's profile becomes another's.
    pub(crate) async fn signs_in(&self, part: Part, text: &[u8]) -> bool {
        self.says(Some((part, text)));
        let provider = self.provider();
        if part == Part::Discovery {
            // Where such a document leads is nobody's to ask.
            let request = UpstreamRequest { state: "the-state", challenge: "c", nonce: NONCE, prompt: None };
            let Ok(url) = provider.authorization_url(request).await else { return false };
            let state = (Cow::from("state"), Cow::from("the-state"));
            assert!(url.scheme() == "https" && url.query_pairs().any(|pair| pair == state), "{url}");
            return true;
        }
        let answer = UpstreamAnswer { code: "code", iss: Some(ISSUER), verifier: "v", nonce: NONCE };
        let signed_in = provider.exchange(answer).await;
        if let Ok(user) = &signed_in {
            let tokens = user.tokens.as_ref().expect("the provider gave some");
            assert_eq!(user.profile.subject, "42");
            assert!(!tokens.access.is_empty());
            let believed = tokens.expires_at.is_none_or(|end| (0..=LONGEST).contains(&(end - NOW * 1000)));
            assert!(believed, "{:?}", tokens.expires_at);
        }
        let known = Profile { subject: "42".to_owned(), ..Profile::default() };
        let tokens = UpstreamTokens {
            access: "upstream-42".to_owned(),
            refresh: None,
            expires_at: None,
            issued_at: None,
            client_id: "upstream".to_owned(),
        };
        let profile = provider.profile(&tokens, &known).await;
        assert!(
            profile.as_ref().is_ok_and(|profile| profile.subject == "42") || profile.is_err(),
            "{profile:?}"
        );
        if part == Part::UserInfo {
            let told = serde_json::from_slice::<Value>(text).unwrap_or_default();
            // A subject may be a whole number.
            let own = told["sub"] == "42" || told["sub"] == 42;
            assert!(own || signed_in.is_err() && profile.is_err(), "{told} is somebody else's");
        }
        signed_in.is_ok()
    }
}

fn answer(mut stream: &TcpStream, said: &Mutex<Said>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    io::copy(&mut stream.take(length.unwrap_or(0)), &mut io::sink())?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let parts = [Part::Token, Part::Discovery, Part::Keys, Part::UserInfo];
    let part = parts.into_iter().find(|part| part.path() == path);
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let body = match (part, said) {
        (Some(part), Some((other, text))) if part == other => text,
        (Some(part), _) => part.right(),
        (None, _) => Vec::new(),
    };
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n")?;
    write!(stream, "content-length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}
