//! What counts as one message, and what is refused because two parsers could disagree on it.

use super::*;

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

fn parse(text: &str) -> Result<Envelope<'_>, String> {
    Envelope::parse(text.as_bytes())
}

#[test]
fn a_tool_call_is_read_without_copying() {
    let text = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"whoami","arguments":{"name":"x"}}}"#;
    let envelope = parse(text).unwrap();
    assert!(envelope.is_tool_call());
    assert!(matches!(envelope.method, Cow::Borrowed("tools/call")));
    assert_eq!(envelope.name().as_deref(), Some("whoami"));
    assert_eq!(envelope.id.map(RawValue::get), Some("7"));
    assert_eq!(envelope.params.version, None);
}

#[test]
fn the_modern_version_is_found_in_meta() {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":"a","method":"server/discover","params":{{"_meta":{{"{META_VERSION}":"2026-07-28","x":1}}}}}}"#
    );
    assert_eq!(parse(&text).unwrap().params.version.as_deref(), Some("2026-07-28"));
}

#[test]
fn kinds_are_told_apart() {
    for (text, kind) in [
        (r#"{"id":1,"method":"ping"}"#, Kind::Request),
        (r#"{"id":1,"method":"ping","params":null}"#, Kind::Request),
        (r#"{"method":"notifications/initialized"}"#, Kind::Notification),
        (r#"{"id":1,"result":{}}"#, Kind::Response),
        (r#"{"id":null,"error":{}}"#, Kind::Response),
    ] {
        assert_eq!(parse(text).unwrap().kind, kind, "{text}");
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    for text in [
        r#"{"id":1,"method":"tools/list","method":"tools/call"}"#,
        r#"{"id":1,"method":"tools/list","meth\u006fd":"tools/call"}"#,
        r#"{"id":1,"method":"tools/list","Method":"tools/call"}"#,
        r#"{"id":1,"method":"tools/call","params":{"name":"a"},"param\u017f":{"name":"b"}}"#,
        r#"{"id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
        r#"{"id":1,"method":"tools/call","params":{"name":"a","NAME":"b"}}"#,
        r#"{"id":1,"method":"tools/call","params":{"name":"a","tas\u212aId":"b"}}"#,
        r#"{"id":1,"id":2,"method":"ping"}"#,
        r#"{"id":1,"method":"ping","params":{},"params":{}}"#,
        r#"{"id":1,"method":"ping","result":{}}"#,
    ] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_not_a_message_is_refused() {
    let deep = format!(r#"{{"id":1,"method":"ping","params":{}{}}}"#, "[".repeat(9_000), "]".repeat(9_000));
    let long = format!(r#"{{"id":"{}","method":"ping"}}"#, "x".repeat(2_000));
    for text in [
        "",
        "null",
        "[]",
        r#" [{"id":1,"method":"ping"}]"#,
        "{}",
        r#"{"id":1}"#,
        r#"{"id":null,"method":"ping"}"#,
        r#"{"id":{},"method":"ping"}"#,
        r#"{"id":1,"method":5}"#,
        r#"{"id":1,"method":"ping","params":[]}"#,
        r#"{"id":1,"method":"ping","params":"x"}"#,
        r#"{"id":1,"method":"ping"} {"id":2,"method":"ping"}"#,
        &deep,
        &long,
    ] {
        assert!(parse(text).is_err(), "{}", &text[..text.len().min(80)]);
    }
}

#[test]
fn a_name_that_is_no_string_is_refused() {
    for params in [r#"{"name":1}"#, r#"{"name":["a"]}"#, r#"{"name":null}"#, r#"{"name":{"a":1}}"#] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        assert!(Envelope::parse(body.as_bytes()).is_err(), "{params}");
    }
    // Of another method it decides nothing.
    assert!(Envelope::parse(br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"name":1}}"#).is_ok());
}

#[test]
fn what_is_not_utf_8_is_refused_also_where_it_is_skipped() {
    for bytes in
        [&b"{\"id\":1,\"method\":\"x\",\"y\":\"\xff\"}"[..], b"{\"id\":1,\"method\":\"x\",\"m\xffethod\":1}"]
    {
        assert!(Envelope::parse(bytes).is_err(), "{bytes:?}");
    }
}

/// Whatever passes is read by the backend as we read it.
#[test]
fn what_is_read_is_what_any_parser_reads() {
    use proptest::{prelude::*, sample::Index};
    let corpus = [
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"whoami","arguments":{"name":"x"}}}"#,
        r#"{"id":"a","method":"resources/read","params":{"uri":"x:\u0061","_meta":{"a":[1,2,{"name":3}]}}}"#,
        r#"{"id":1,"result":{"content":[]}}"#,
        r#"{"method":"notifications/initialized"}"#,
        r#"{"ID":1,"Method":"x","params":{"Name":"y"},"\u006dethod":"z"}"#,
        r#"[{"id":1,"method":"ping"}]"#,
    ];
    let edit = (any::<Index>(), any::<Index>(), any::<u8>(), 0..5_u8);
    let input = (prop::sample::select(corpus.to_vec()), prop::collection::vec(edit, 0..6));
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((text, edits) in input)| {
        let mut bytes = text.as_bytes().to_vec();
        for (from, to, new, kind) in edits {
            let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
            let (from, to) = (from.min(to), from.max(to));
            match kind {
                0 => bytes.insert(from, new),
                1 => bytes.truncate(to),
                2 => bytes.extend_from_within(from..to),
                3 => drop(bytes.drain(from..to)),
                _ => if let Some(byte) = bytes.get_mut(from) { *byte = new },
            }
        }
        let Ok(envelope) = Envelope::parse(&bytes) else { return Ok(()) };
        // Half a surrogate pair, where we do not look: nobody reads it otherwise, some refuse it.
        let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return Ok(()) };
        prop_assert_eq!(value["method"].as_str().unwrap_or_default(), envelope.method.as_ref());
        if envelope.is_tool_call() {
            let name = envelope.name();
            prop_assert_eq!(value["params"]["name"].as_str(), name.as_deref());
        }
    });
}
