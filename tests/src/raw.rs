//! Bytes on a connection of their own, for requests that no HTTP client would send, and what is answered to them.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::timeout,
};

use crate::watch::{Exchange, Witness};

/// A connection that is kept after an answer, and on which nothing is said for so long, has nothing more to say.
const SILENCE: Duration = Duration::from_secs(3);
/// Where something must come, an answer or the end of the connection, a busy machine may take so long.
const LATE: Duration = Duration::from_secs(10);

/// One answer.
#[derive(Debug)]
pub struct RawAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl RawAnswer {
    /// Whether what it answers was no HTTP, which is refused before anybody knows whom it was for.
    fn is_to_nobody(&self) -> bool {
        self.status.is_client_error() && self.body.is_empty()
    }

    /// Whether the connection ends after it.
    fn is_last(&self) -> bool {
        self.is_to_nobody() || self.headers.get("connection").is_some_and(|value| value == "close")
    }
}

/// What came back on a connection.
#[derive(Debug)]
pub struct Heard {
    /// All of it, as text.
    pub text: String,
    /// The answers in it.
    pub answers: Vec<RawAnswer>,
    /// Whether the other side closed the connection.
    pub closed: bool,
}

/// Sends `bytes` from `peer` to `address` and reads until the other side closes or has nothing more to say. The witness sees
/// each answer, beside the first request.
///
/// # Panics
/// When nothing listens there.
pub async fn ask(watch: &dyn Witness, peer: IpAddr, address: &str, bytes: &[u8]) -> Heard {
    let socket = TcpSocket::new_v4().expect("a socket can be had");
    socket.bind(SocketAddr::new(peer, 0)).expect("an address of loopback");
    let mut stream = socket.connect(address.parse().expect("an address")).await.expect("a replica listens");
    // It may close before it has read all; what it answered is what counts.
    let _ = stream.write_all(bytes).await;
    let (mut heard, mut buffer) = (Vec::new(), [0; 8192]);
    let closed = loop {
        let kept = answers(&heard).last().is_some_and(|answer| !answer.is_last());
        match timeout(if kept { SILENCE } else { LATE }, stream.read(&mut buffer)).await {
            Ok(Ok(length @ 1..)) => heard.extend_from_slice(&buffer[..length]),
            Ok(_) => break true,
            Err(_) => break false,
        }
    };
    let answers = answers(&heard);
    show(watch, peer, bytes, &answers);
    Heard { text: String::from_utf8_lossy(&heard).into_owned(), answers, closed }
}

fn show(watch: &dyn Witness, peer: IpAddr, bytes: &[u8], answers: &[RawAnswer]) {
    let asked = String::from_utf8_lossy(bytes);
    let (head, question) = asked.split_once("\r\n\r\n").unwrap_or((&asked, ""));
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let method = words.next().and_then(|word| word.parse().ok()).unwrap_or(Method::GET);
    let uri: Uri = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let lines: HeaderMap = head.lines().skip(1).filter_map(header).collect();
    let nowhere = Uri::default();
    for answer in answers {
        watch.see(&Exchange {
            peer,
            method: &method,
            uri: if answer.is_to_nobody() { &nowhere } else { &uri },
            asked: &lines,
            question,
            status: answer.status,
            headers: &answer.headers,
            answer: &answer.body,
        });
    }
}

fn header(line: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim().parse().ok()?, HeaderValue::from_str(value.trim()).ok()?))
}

/// The answers in what was heard; the last may have broken off.
fn answers(mut heard: &[u8]) -> Vec<RawAnswer> {
    let mut found = Vec::new();
    while let Some(end) = find(heard, b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&heard[..end]);
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let Some(status) = status else { return found };
        let headers: HeaderMap = lines.filter_map(header).collect();
        let rest = &heard[end + 4..];
        let (body, used) =
            if headers.contains_key("transfer-encoding") { chunked(rest) } else { sized(rest, &headers) };
        found.push(RawAnswer { status, headers, body: String::from_utf8_lossy(&body).into_owned() });
        heard = &rest[used..];
    }
    found
}

fn sized(rest: &[u8], headers: &HeaderMap) -> (Vec<u8>, usize) {
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let length = rest.len().min(length.unwrap_or(0));
    (rest[..length].to_vec(), length)
}

fn chunked(rest: &[u8]) -> (Vec<u8>, usize) {
    let (mut body, mut at) = (Vec::new(), 0);
    while let Some(line) = find(&rest[at..], b"\r\n") {
        let size = String::from_utf8_lossy(&rest[at..at + line]).into_owned();
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        let start = at + line + 2;
        let end = rest.len().min(start + size);
        body.extend_from_slice(&rest[start..end]);
        at = rest.len().min(end + 2);
        if size == 0 {
            break;
        }
    }
    (body, at)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let heard =
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nnoHTTP/1.1 200 OK\r\ntransfer-encoding: \
            chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        let found = answers(heard);
        let pairs: Vec<_> = found.iter().map(|a| (a.status.as_u16(), a.body.as_str())).collect();
        assert_eq!(pairs, [(400, "no"), (200, "abcde"), (204, "")]);
    }
}
