//! 116, 118, 119 and 121: clients whose id is the URL of a document, which the gateway fetches. A web of this program has
//! those ([`e2e::web`]), and a sink listens where none may lead ([`e2e::sink`]).

use std::{process::Stdio, sync::Arc};

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use e2e::{
    backend::Backend,
    balancer::REPLICA,
    dev::{Gateway, Setup},
    idp::signing::SigningKey,
    oauth::{Answer, OAuthClient, REDIRECT_URI},
    redis::Redis,
    sink::Sink,
    watch::Watch,
    web,
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{
    registration::within_a_minute,
    world::{Attack, HOST, local_users},
};

/// What the operator of tenant D opens for its own identity providers and backends.
const OPENED: &[&str] =
    &["10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "100.64.0.0/10", "fd00::/8", "*.inside.test"];

/// Tenant D: as C, and takes documents of every host. Of those that are not out in the open its policy names some, and its
/// operator opens many.
pub(crate) async fn tenant(watch: &Arc<Watch>, redis: &Redis) -> (Gateway, Backend) {
    let (manifest, callers) = local_users("team-d");
    let hosts: Vec<&str> = ["\"*\""].into_iter().chain(web::hosts().map(|(_, host)| host)).collect();
    let documents = format!("metadataDocuments: {{ allowedHosts: [{}] }}", hosts.join(", "));
    let uris = "redirectUris:";
    let manifest = manifest.replace(uris, &format!("registration: {{ {documents} }}\n  {uris}"));
    let backend = Backend::start(callers).await;
    let setup = Setup::https(HOST, &manifest).with("backend", &backend.url()).opened(OPENED);
    watch.tenant(&setup.issuer());
    (setup.redis(redis).watched(watch).replicas(2).start().await, backend)
}

/// The client of this id, at tenant D.
pub(crate) fn named(attack: &Attack, id: &str) -> OAuthClient {
    OAuthClient::named(attack.http.clone(), &attack.d().issuer, id, REDIRECT_URI)
}

/// What a good document says, but whose it is.
pub(crate) fn good() -> Value {
    json!({ "client_name": "A client", "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none" })
}

/// Begins a sign-in of the client of this id at a replica.
pub(crate) async fn authorize(attack: &Attack, id: &str, replica: usize) -> Answer {
    attack.send(attack.http.get(named(attack, id).authorize_url()).header(REPLICA, replica)).await
}

/// Whether it is a page of ours that leads nowhere.
pub(crate) fn is_page(answer: &Answer, status: u16) -> bool {
    answer.status == status
        && answer.header("location").is_empty()
        && answer.header("content-type").starts_with("text/html")
}

/// The ids that are an address, in every spelling that some parser takes, and the names that only a machine inside knows.
const INSIDE: [&str; 46] = [
    "https://127.0.0.1/c",
    "https://127.1/c",
    "https://2130706433/c",
    "https://0x7f000001/c",
    "https://0x7f.0x0.0x0.0x1/c",
    "https://0x7f.1/c",
    "https://017700000001/c",
    "https://0177.0.0.01/c",
    "https://127.0.0.1./c",
    "https://127.0.0.1:443/c",
    "https://documents.test@127.0.0.1/c",
    "https://documents.test:443@127.0.0.1/c",
    "https://127.0.0.1\\@documents.test/c",
    "https://127%2e0%2e0%2e1/c",
    "https://%31%32%37.0.0.1/c",
    "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/c",
    "https://127\u{3002}0\u{3002}0\u{3002}1/c",
    "https://0.0.0.0/c",
    "https://0/c",
    "https://10.0.0.1/c",
    "https://10.1/c",
    "https://167772161/c",
    "https://0xa000001/c",
    "https://012.0.0.1/c",
    "https://169.254.169.254/latest/meta-data/",
    "https://2852039166/latest/meta-data/",
    "https://0xa9fea9fe/latest/meta-data/",
    "https://0251.0376.0251.0376/latest/meta-data/",
    "https://169.254.43518/latest/meta-data/",
    "https://168.63.129.16/metadata/instance",
    "https://[::]/c",
    "https://[::1]/c",
    "https://[0:0:0:0:0:0:0:1]/c",
    "https://[::ffff:127.0.0.1]/c",
    "https://[::ffff:a9fe:a9fe]/c",
    "https://[::127.0.0.1]/c",
    "https://[64:ff9b::10.0.0.1]/c",
    "https://[64:ff9b::a00:1]/c",
    "https://[2002:a00:1::1]/c",
    "https://[2001:0:a00:1::1]/c",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://[fe80::1%25lo]/c",
    "https://localhost/c",
    "https://LOCALHOST/c",
    "https://localhost./c",
    "https://kubernetes/c",
];

pub(crate) async fn r116_ids_that_lead_inside(attack: &Attack) {
    let key = Arc::new(SigningKey::generate("k1").await);
    let by_assertion = async |attack: &Attack, id: &str| {
        let mut client = named(attack, id);
        client.signs_with(key.clone());
        client.refresh("x").await
    };
    for id in INSIDE {
        let page = authorize(attack, id, 0).await;
        assert!(is_page(&page, 400), "{id}: {} {}", page.status, page.text);
        for answer in [named(attack, id).refresh("x").await, by_assertion(attack, id).await] {
            assert!(answer.is_error(401, "invalid_client"), "{id}: {} {}", answer.status, answer.text);
        }
    }
    for host in Sink::hosts() {
        // Each asks for few documents.
        let attack = attack.elsewhere();
        let id = format!("https://{host}/c");
        for replica in 0..2 {
            let page = authorize(&attack, &id, replica).await;
            let told = page.text.contains("cannot be fetched");
            assert!(is_page(&page, 400) && told, "{id}: {} {}", page.status, page.text);
        }
        let answer = by_assertion(&attack, &id).await;
        assert!(answer.is_error(401, "invalid_client"), "{id}: {} {}", answer.status, answer.text);
        attack.was_answered_well();
    }
    assert!(attack.world.sink.reached().is_empty(), "{:?}", attack.world.sink.reached());
    // What is out in the open is fetched.
    let id = "https://documents.test/outside.json";
    web::publish(id, good());
    assert_eq!((authorize(attack, id, 0).await.status, web::asked(id)), (303, 1));
}

pub(crate) async fn r118_documents_that_redirect(attack: &Attack) {
    let elsewhere = "https://redirects.test/elsewhere.json";
    web::publish(elsewhere, good());
    for status in [301, 302, 303, 307, 308] {
        let attack = attack.elsewhere();
        for (nth, target) in
            ["https://private.inside.test/c", "https://10.0.0.1/c", "//169.254.169.254/latest/", elsewhere]
                .into_iter()
                .enumerate()
        {
            let id = format!("https://redirects.test/{status}/{nth}");
            let mut document = good();
            document["client_id"] = json!(id);
            let answer = web::Answer::json(&document).status(status).header(LOCATION, target);
            web::serve(&id, answer);
            let page = authorize(&attack, &id, nth % 2).await;
            assert!(is_page(&page, 400), "{status} {target}: {} {}", page.status, page.text);
            assert_eq!(web::asked(&id), 1, "{status} {target}");
        }
        attack.was_answered_well();
    }
    assert_eq!(web::asked(elsewhere), 0, "a redirect was followed");
    assert!(attack.world.sink.reached().is_empty(), "{:?}", attack.world.sink.reached());
}

/// Four megabytes that are a few kilobytes on the wire.
async fn bomb(document: &str) -> Vec<u8> {
    let mut command = Command::new("gzip");
    command.args(["--best", "--stdout"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("gzip is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    let text = format!("{document}{}", " ".repeat(4 << 20));
    let (written, output) =
        tokio::join!(async move { stdin.write_all(text.as_bytes()).await }, child.wait_with_output());
    written.expect("gzip reads to the end");
    let packed = output.expect("gzip ends").stdout;
    assert!((1000..5000).contains(&packed.len()), "{} bytes", packed.len());
    packed
}

/// What is no document, or no good one, of this id.
async fn bad(id: &str) -> Vec<(&'static str, web::Answer)> {
    use web::Answer as A;
    let mut document = good();
    document["client_id"] = json!(id);
    let text = document.to_string();
    let with = |name: &str, value: Value| {
        let mut document = document.clone();
        document[name] = value;
        A::json(&document)
    };
    let padded = format!("{text}{}", " ".repeat(5 * 1024));
    let invalid = text.replacen('{', "{\"note\":\"?\",", 1).into_bytes();
    let invalid: Vec<u8> = invalid.into_iter().map(|byte| if byte == b'?' { 0xff } else { byte }).collect();
    let keys = |key: Value| with("jwks", json!({ "keys": [key] }));
    let private = json!({ "kty": "OKP", "crv": "Ed25519", "x": "AAAA", "d": "AAAA" });
    vec![
        ("too long", A::of(padded.clone())),
        ("too long in chunks", A::of(padded).in_chunks()),
        ("without end", A::of(text.clone()).without_end()),
        ("a bomb", A::of(bomb(&text).await).header(CONTENT_ENCODING, "gzip")),
        ("said to be encoded", A::of(text.clone()).header(CONTENT_ENCODING, "br")),
        ("HTML", A::of(text.clone()).header(CONTENT_TYPE, "text/html")),
        ("text", A::of(text.clone()).header(CONTENT_TYPE, "text/plain; charset=utf-8")),
        ("of no type", A::of(text.clone()).without(&CONTENT_TYPE)),
        ("not UTF-8", A::of(invalid)),
        ("UTF-16", A::of(text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>())),
        ("no JSON", A::of("<!doctype html>")),
        ("cut", A::of(text[..text.len() - 1].to_owned())),
        ("a list", A::of(format!("[{text}]"))),
        ("nothing", A::of("")),
        ("another's", with("client_id", json!("https://documents.test/other"))),
        ("another's by a slash", with("client_id", json!(format!("{id}/")))),
        ("with two ids", A::of(text.replacen('{', "{\"client_id\":\"https://documents.test/other\",", 1))),
        ("with a secret", with("client_secret", json!("a-secret-that-everybody-can-read"))),
        ("with a secret that ends", with("client_secret_expires_at", json!(0))),
        ("with a private key", keys(private)),
        ("with a symmetric key", keys(json!({ "kty": "oct", "k": "AAAA" }))),
        ("missing", A::of(text.clone()).status(404)),
        ("on a server that fails", A::of(text).status(500)),
    ]
}

pub(crate) async fn r119_documents_that_are_none(attack: &Attack) {
    let cases = bad("https://documents.test/bad/0").await.len();
    for nth in 0..cases {
        let attack = attack.elsewhere();
        let id = format!("https://documents.test/bad/{nth}");
        let (what, answer) = bad(&id).await.swap_remove(nth);
        web::serve(&id, answer);
        let page = authorize(&attack, &id, nth % 2).await;
        assert!(is_page(&page, 400), "{what}: {} {}", page.status, page.text);
        // Nothing of it is kept: the client is known as soon as it says what it should.
        web::publish(&id, good());
        let begun = authorize(&attack, &id, nth % 2).await;
        assert_eq!((begun.status, web::asked(&id)), (303, 2), "{what}: {}", begun.text);
        attack.was_answered_well();
    }
}

/// So many documents of one host, and so many of one source, each replica fetches in a minute.
const OF_HOST: usize = 30;

pub(crate) async fn r121_a_thousand_documents_of_one_host(attack: &Attack) {
    let (host, sources, answers) = within_a_minute(async |round| {
        let host = ["flooded.test", "flooded-again.test", "flooded-at-last.test"][round];
        let known = format!("https://{host}/known.json");
        web::publish(&known, good());
        for replica in 0..2 {
            assert_eq!(authorize(attack, &known, replica).await.status, 303);
        }
        let sources: Vec<Attack> = (0..50).map(|_| attack.elsewhere()).collect();
        let asked = stream::iter(0..1000).map(async |n| {
            let id = format!("https://{host}/{n}");
            authorize(&sources[n % sources.len()], &id, n % 2).await
        });
        let answers: Vec<Answer> = asked.buffer_unordered(8).collect().await;
        (host, sources, answers)
    })
    .await;
    let refused = |answer: &&Answer| is_page(answer, 429) && !answer.header("retry-after").is_empty();
    let fetched = answers.iter().filter(|answer| is_page(answer, 400)).count();
    assert_eq!(fetched + answers.iter().filter(refused).count(), 1000, "{:?}", statuses(&answers));
    assert_eq!((fetched, web::asked(&format!("https://{host}/"))), (2 * (OF_HOST - 1), 2 * OF_HOST));
    for source in &sources {
        source.was_answered_well();
    }
    // Nobody else is held back by it: who is known there, and who is elsewhere.
    let other = "https://documents.test/bystander.json";
    web::publish(other, good());
    for id in [&format!("https://{host}/known.json"), other] {
        for replica in 0..2 {
            assert_eq!(authorize(attack, id, replica).await.status, 303, "{id}");
        }
    }
}

pub(crate) async fn r121_one_document_a_thousand_times(attack: &Attack) {
    let id = "https://crowded.test/client.json";
    web::publish(id, good());
    let sources: Vec<Attack> = (0..10).map(|_| attack.elsewhere()).collect();
    let source = |n: usize| &sources[n / 2 % sources.len()];
    // A thousand connections are open before: what is sent on them at once arrives at once.
    let metadata = format!("{}/.well-known/oauth-authorization-server", attack.d().issuer);
    let opened = (0..1000).map(async |n| {
        let request = source(n).http.get(&metadata).header(REPLICA, n % 2);
        attack.send(request).await
    });
    let opened = futures::future::join_all(opened).await;
    assert!(opened.iter().all(|answer| answer.status == 200), "{:?}", statuses(&opened));
    let asked = (0..1000).map(async |n| authorize(source(n), id, n % 2).await);
    let answers = futures::future::join_all(asked).await;
    assert!(answers.iter().all(|answer| answer.status == 303), "{:?}", statuses(&answers));
    assert_eq!(web::asked(id), 2, "once by each replica");
    for source in &sources {
        source.was_answered_well();
    }
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}
