//! 104: a bare LF in the place of a line's end. See the notes of the suite for why it is not refused everywhere.

use crate::{
    proxy::{arrived, call, head},
    world::Attack,
};

/// Where a LF stands alone, whether it is taken for a line's end there, and the request around this body.
type Place = (&'static str, bool, fn(&str, &str) -> String);

const PLACES: [Place; 8] = [
    ("after-a-header", true, |head, body| {
        format!("{head}X-Line: a\nContent-Length: {}\r\n\r\n{body}", body.len())
    }),
    ("after-the-length", true, |head, body| format!("{head}Content-Length: {}\n\r\n{body}", body.len())),
    ("after-the-encoding", true, |head, body| {
        format!("{head}Transfer-Encoding: chunked\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    }),
    ("as-the-blank-line", true, |head, body| format!("{head}Content-Length: {}\r\n\n{body}", body.len())),
    ("after-every-line", true, |head, body| {
        format!("{}Content-Length: {}\n\n{body}", head.replace("\r\n", "\n"), body.len())
    }),
    ("in-a-chunk-extension", false, |head, body| {
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x};a=\nb\r\n{body}\r\n0\r\n\r\n", body.len())
    }),
    ("after-a-chunk-size", false, |head, body| {
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\n{body}\r\n0\r\n\r\n", body.len())
    }),
    ("after-a-chunk", false, |head, body| {
        format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\n0\r\n\r\n", body.len())
    }),
];

pub(crate) async fn r104_a_bare_line_feed_hides_no_request(attack: &Attack) {
    let client = attack.client(attack.a()).await;
    let (browser, login) = attack.visitor_of(&attack.world.github);
    let (access, _) = client.tokens(&browser).await;
    let head = head(attack.a().host(), &access);
    let sent = PLACES.iter().map(async |(place, ends, request)| {
        let mark = |which: &str| format!("{which}-of-{login}-{place}");
        let seen = |which: &str| arrived(attack, &mark(which));
        // The one message that it frames.
        let heard = attack.raw(request(&head, &call(&mark("only"))).as_bytes()).await;
        let statuses: Vec<u16> = heard.answers.iter().map(|answer| answer.status.as_u16()).collect();
        let expected = if *ends { 200 } else { 400 };
        assert!(statuses == [expected] && (*ends || heard.closed), "{place}: {}", heard.text);
        assert_eq!(seen("only"), usize::from(*ends), "{place}");
        // A message that holds a second: whoever read past the LF would end the first before that.
        let second = call(&mark("second"));
        let hidden = format!("{head}Content-Length: {}\r\n\r\n{second}", second.len());
        let both = format!("{}{hidden}", call(&mark("first")));
        let heard = attack.raw(request(&head, &both).as_bytes()).await;
        let statuses: Vec<u16> = heard.answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(statuses, [400], "{place}: {}", heard.text);
        assert_eq!((seen("first"), seen("second")), (0, 0), "{place}");
    });
    futures::future::join_all(sent).await;
}
