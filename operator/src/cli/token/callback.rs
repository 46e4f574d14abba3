//! The loopback listener that receives the code (RFC 8252 section 7.3).

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};
use url::Url;

/// How much of a request is read: authorization responses are far shorter.
const LIMIT: u64 = 16 * 1024;

/// A good authorization response.
pub(super) struct Callback {
    /// The code.
    pub(super) code: String,
}

/// Waits for the authorization response that carries `state`. Whatever else knocks is sent away.
///
/// # Errors
/// With what the server answered instead of a code, or when the response is another issuer's (RFC 9207).
pub(super) async fn receive(
    listener: TcpListener,
    state: &str,
    issuer: Option<&str>,
) -> Result<Callback, String> {
    loop {
        let (stream, _) = listener.accept().await.map_err(|e| format!("cannot accept the browser: {e}"))?;
        let mut stream = BufReader::new(stream);
        let Some(url) = request_url(&mut stream).await else { continue };
        let get = |name: &str| url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned());
        if url.path() != "/callback" || get("state").as_deref() != Some(state) {
            answer(stream, "404 Not Found", "This is not the page you are looking for.").await;
            continue;
        }
        if let Some(expected) = issuer.filter(|i| get("iss").as_deref() != Some(*i)) {
            let text = "The answer came from another authorization server.";
            answer(stream, "400 Bad Request", text).await;
            return Err(format!(
                "the answer is not from {expected}: iss is {:?}",
                get("iss").unwrap_or_default()
            ));
        }
        if let Some(code) = get("code") {
            answer(stream, "200 OK", "Signed in. You can close this window and go back to the terminal.")
                .await;
            return Ok(Callback { code });
        }
        answer(stream, "200 OK", "Not signed in. The terminal says why.").await;
        let (error, description) = (get("error"), get("error_description"));
        let why = [error.unwrap_or_else(|| "no code".to_owned()), description.unwrap_or_default()];
        return Err(format!("sign-in failed: {}", why.join(" ").trim().escape_debug()));
    }
}

async fn request_url(stream: &mut BufReader<TcpStream>) -> Option<Url> {
    let mut line = String::new();
    stream.take(LIMIT).read_line(&mut line).await.ok()?;
    let target = line.strip_prefix("GET ")?.split(' ').next()?;
    Url::parse("http://127.0.0.1").ok()?.join(target).ok()
}

async fn answer(mut stream: BufReader<TcpStream>, status: &str, text: &str) {
    let body = format!("<!doctype html><meta charset=\"utf-8\"><title>Gatehouse</title><p>{text}");
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    // The browser may be gone; the code has arrived all the same.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(port: u16, target: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn only_the_right_state_and_issuer_bring_a_code() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wait =
            tokio::spawn(async move { receive(listener, "s", Some("https://i")).await.map(|c| c.code) });
        assert!(ask(port, "/callback?code=evil&state=other").await.starts_with("HTTP/1.1 404"));
        assert!(ask(port, "/favicon.ico").await.starts_with("HTTP/1.1 404"));
        assert!(ask(port, "/callback?code=c&state=s&iss=https%3A%2F%2Fi").await.starts_with("HTTP/1.1 200"));
        assert_eq!(wait.await.unwrap().unwrap(), "c");
    }

    #[tokio::test]
    async fn an_error_and_a_foreign_issuer_are_said() {
        for (query, expected) in [
            ("error=access_denied&error_description=No&state=s&iss=https%3A%2F%2Fi", "access_denied No"),
            ("code=c&state=s&iss=https%3A%2F%2Fj", "https://j"),
            ("code=c&state=s", "not from https://i"),
        ] {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let wait =
                tokio::spawn(async move { receive(listener, "s", Some("https://i")).await.map(|c| c.code) });
            ask(port, &format!("/callback?{query}")).await;
            let error = wait.await.unwrap().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
