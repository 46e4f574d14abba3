//! What strangers may cause to be fetched: their client ids are URLs of their choice.

use std::net::SocketAddr;

use axum::{body::Body, extract::ConnectInfo};
use http::Method;
use serde_json::json;

use crate::{
    assertions::{claims, proven, signed},
    documents::{ID, PUBLIC, World, answer, document, ok},
    support::{Answer, Browser, Client, config, form, redeem, request},
};

/// A network is open for the identity provider in it, and for no document.
#[tokio::test]
async fn what_egress_allow_opens_is_closed_to_documents_of_hosts_that_are_not_named() {
    for hosts in [json!(null), json!(["*"]), json!(["*.example"]), json!(["other.example", "*"])] {
        let mut config = config();
        if !hosts.is_null() {
            config["policy"] = json!({"metadataDocuments": {"allowedHosts": hosts}});
        }
        for entry in ["10.0.0.0/8", "client.example", "*.example"] {
            let world = World::opened(config.clone(), ok(), &["10.0.0.1"], &[entry]).await;
            world.refuses(ID, "cannot be fetched").await;
            assert_eq!(world.web.seen(), [""; 0], "{hosts} {entry}");
        }
    }
    let mut named = config();
    named["policy"] = json!({"metadataDocuments": {"allowedHosts": ["*", "client.example"]}});
    let world = World::opened(named.clone(), ok(), &["10.0.0.1"], &["10.0.0.0/8"]).await;
    assert_eq!(world.authorize(ID).await.status, 303);
    assert_eq!(world.web.seen(), ["CONNECT 10.0.0.1:443", "GET /metadata.json"]);
    // Being named opens nothing that the administrator of the cluster does not.
    let world = World::opened(named, ok(), &["10.0.0.1"], &[]).await;
    world.refuses(ID, "cannot be fetched").await;
    assert_eq!(world.web.seen(), [""; 0]);
}

#[tokio::test]
async fn every_failure_to_fetch_is_told_in_the_same_words() {
    let html = answer("200 OK", "Content-Type: text/html\r\n", b"<html>");
    let mut pages = Vec::new();
    for (bytes, address) in [
        (answer("404 Not Found", "", b""), PUBLIC),
        (answer("302 Found", "Location: /x\r\n", b""), PUBLIC),
        (answer("503 Away", "", b""), PUBLIC),
        (html, PUBLIC),
        (b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), PUBLIC),
        (ok(), "10.0.0.1"),
        (ok(), "169.254.169.254"),
    ] {
        let world = World::with(config(), bytes, &[address]).await;
        let page = world.authorize(ID).await;
        assert_eq!(page.status, 400, "{page:?}");
        pages.push(page.body);
    }
    pages.dedup();
    assert_eq!(pages.len(), 1);
}

/// What a client says of itself is no link for its users: it may lead inside.
#[tokio::test]
async fn nothing_that_a_document_links_to_is_shown() {
    let links = ["client_uri", "logo_uri", "tos_uri", "policy_uri"];
    let mut document = document();
    for member in links {
        document[member] = json!(format!("http://tools.team-b.svc.cluster.local/{member}"));
    }
    let json = "Content-Type: application/json\r\n";
    let world = World::new(answer("200 OK", json, document.to_string().as_bytes())).await;
    let client = Client { id: ID.to_owned(), secret: None };
    let page = Browser::default().consent(&world.gateway, &client, "alice").await;
    for member in links.iter().copied().chain(["team-b"]) {
        assert!(!page.body.contains(member), "{member}: {}", page.body);
    }
}

/// A token request with an assertion that nobody has verified.
async fn assert_as(world: &World, n: u32, address: [u8; 4]) -> Answer {
    let id = format!("https://h{n}.example/c");
    let mut said = claims(world);
    (said["iss"], said["sub"]) = (json!(id), json!(id));
    let (client, assertion) = (Client { id, secret: None }, signed(1, &said));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let body = Body::from(form(&proven(redeem(&client, "x"), &assertion)));
    let mut request = request(Method::POST, "/oauth/token", &headers, body);
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 1))));
    world.gateway.send(request).await
}

#[tokio::test]
async fn assertions_of_one_source_fetch_a_few_documents_that_are_not_known() {
    let world = World::new(ok()).await;
    for n in 0..30 {
        let answer = assert_as(&world, n, [203, 0, 113, 9]).await;
        assert_eq!(answer.status == 429, n >= 10, "{n}: {answer:?}");
    }
    let asked = world.web.seen().iter().filter(|line| line.starts_with("CONNECT ")).count();
    assert_eq!(asked, 10);
    let other = assert_as(&world, 99, [198, 51, 100, 1]).await;
    assert_ne!(other.status, 429, "{other:?}");
}
