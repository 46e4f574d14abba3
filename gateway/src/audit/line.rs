//! An event as one line: JSON for programs, `name=value` for people. Whatever a client chose is cut and escaped, so
//! that no name can end a line, forge a field or move a terminal's cursor.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Field, Record, Value};
use crate::web::date;

/// The longest text of a field, in bytes: a client id has at most 512.
const MAX_TEXT: usize = 512;
/// More than most lines have, in bytes.
const USUAL: usize = 768;
/// The longest id, in bytes.
const MAX_ID: usize = 32;
/// Its text.
const MAX_ID_TEXT: usize = MAX_ID.div_ceil(3) * 4;

pub(super) fn json(record: &Record<'_>, out: &mut Vec<u8>) {
    out.reserve(USUAL);
    let mut first = b'{';
    record.each(&mut |field, value| {
        out.push(first);
        first = b',';
        out.extend_from_slice(field.key().as_bytes());
        json_value(value, out);
    });
    out.extend_from_slice(b"}\n");
}

fn json_value(value: Value<'_>, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    match value {
        Value::Number(number) => drop(write!(out, "{number}")),
        Value::Word(word) => {
            // They are written in this program, and need no look for each call.
            debug_assert!(is_simple(word), "{word:?} needs escaping");
            out.push(b'"');
            out.extend_from_slice(word.as_bytes());
            out.push(b'"');
        }
        Value::Text(text) => quoted(cut(text), out),
        Value::Id(id) => {
            out.push(b'"');
            out.extend_from_slice(id_text(id, &mut [0; MAX_ID_TEXT]).as_bytes());
            out.push(b'"');
        }
        Value::Address(address) => drop(write!(out, "\"{address}\"")),
        Value::Time(unix_millis) => {
            out.push(b'"');
            time(unix_millis, out);
            out.push(b'"');
        }
    }
}

/// A JSON string. Beyond what JSON asks for, everything that a terminal would act on or that would reorder or split a
/// line where it is shown is escaped.
fn quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    if is_simple(text) {
        out.extend_from_slice(text.as_bytes());
    } else {
        for c in text.chars() {
            match c {
                '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
                _ if is_plain(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
            }
        }
    }
    out.push(b'"');
}

/// Whether nothing of a text needs escaping. Without an early end, so that the compiler looks at many bytes at once.
fn is_simple(text: &str) -> bool {
    let odd = |byte: u8| u8::from(!matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'));
    text.bytes().fold(0, |all, byte| all | odd(byte)) == 0
}

/// Whether a character may stand as it is: no control, no line or paragraph separator, no direction mark or other
/// format character.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// At most [`MAX_TEXT`] bytes, cut between characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

fn id_text<'b>(id: &[u8], buffer: &'b mut [u8; MAX_ID_TEXT]) -> &'b str {
    let written = URL_SAFE_NO_PAD.encode_slice(id.get(..MAX_ID).unwrap_or(id), buffer).unwrap_or_default();
    std::str::from_utf8(&buffer[..written]).unwrap_or_default()
}

/// `2026-11-24T00:00:00.000Z`. By hand: a formatter costs more than the rest of a line.
fn time(unix_millis: i64, out: &mut Vec<u8>) {
    let (seconds, millis) = (unix_millis.div_euclid(1000), unix_millis.rem_euclid(1000));
    let (year, month, day) = date::civil(seconds);
    let of_day = seconds.rem_euclid(86_400);
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (of_day / 3_600, 2, b':'),
        (of_day / 60 % 60, 2, b':'),
        (of_day % 60, 2, b'.'),
        (millis, 3, b'Z'),
    ];
    for (number, digits, end) in parts {
        let from = out.len();
        let mut rest = number;
        for _ in 0..digits {
            // A digit of a positive number: years before 0 do not occur.
            out.push(b'0' + u8::try_from(rest % 10).unwrap_or_default());
            rest /= 10;
        }
        out[from..].reverse();
        out.push(end);
    }
}

pub(super) fn text(record: &Record<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut line = String::new();
    record.each(&mut |field, value| {
        if matches!(field, Field::Timestamp | Field::Level | Field::Target) {
            return;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let name = field.name();
        // Writing to a String cannot fail.
        let _ = match value {
            Value::Word(word) => write!(line, "{name}={word}"),
            Value::Text(text) => write!(line, "{name}={:?}", cut(text)),
            Value::Id(id) => write!(line, "{name}={}", id_text(id, &mut [0; MAX_ID_TEXT])),
            Value::Number(number) => write!(line, "{name}={number}"),
            Value::Address(address) => write!(line, "{name}={address}"),
            Value::Time(millis) => write!(line, "{name}={millis}"),
        };
    });
    f.write_str(&line)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{
        audit::{CallEvent, Client, Decision, Event, What},
        model::{GrantId, UserId},
        oauth::source::Source,
    };

    fn line(what: What<'_>) -> String {
        let mut out = Vec::new();
        Record { unix_millis: 1_795_478_400_007, server: "team-a/tools", what }.json(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_one_object_with_its_fields_in_order() {
        let mut event = Event::new(Decision::SignInFailed);
        event.because("wrong_password").because("too late");
        assert_eq!(
            line(What::Decision(&event)),
            "{\"timestamp\":\"2026-11-24T00:00:00.007Z\",\"level\":\"INFO\",\"target\":\"audit\",\
             \"event\":\"sign_in\",\"outcome\":\"failed\",\"reason\":\"wrong_password\",\
             \"server\":\"team-a/tools\"}\n"
        );
    }

    #[test]
    fn what_a_client_chose_is_escaped_and_cut() {
        let tool = "a\"\\\n\r\u{1b}[2J\u{7f}\u{9b}\u{2028}\u{202e}\u{e0041}\0é";
        let client = Client::new(&"x".repeat(600), "{\"outcome\":\"ok\"}");
        let call = CallEvent {
            user: &UserId::from_bytes([1; 32]),
            client: &client,
            grant: &GrantId::from_bytes([2; 16]),
            source: Source(Some([192, 0, 2, 7].into())),
            method: "tools/call",
            tool: Some(tool),
            status: 200,
            outcome: "ok",
            reason: None,
            took: Duration::from_micros(1500),
        };
        let line = line(What::Call(&call));
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b) || b == b'\n' || b > 0x7f), "{line}");
        assert!(["\u{9b}", "\u{2028}", "\u{202e}", "\u{e0041}"].iter().all(|c| !line.contains(c)), "{line}");
        assert_eq!(line.matches('\n').count(), 1);
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&event["tool"], &event["client"]), (&json!(tool), &json!("{\"outcome\":\"ok\"}")));
        assert_eq!(event["client_id"].as_str().map(str::len), Some(MAX_TEXT));
        assert_eq!((&event["status"], &event["duration_us"]), (&json!(200), &json!(1500)));
        assert_eq!(event["source"], "192.0.2.7");
        assert_eq!(event["user"], UserId::from_bytes([1; 32]).to_string());
        assert_eq!(cut(&"é".repeat(300)).len(), 512);
        assert_eq!(cut(&format!("a{}", "é".repeat(300))).len(), 511);
    }

    #[test]
    fn a_person_reads_the_same() {
        let mut event = Event::new(Decision::ConsentApproved);
        event.grant_id(&GrantId::from_bytes([2; 16]));
        let record = Record { unix_millis: 0, server: "a/\u{1b}[2J", what: What::Decision(&event) };
        let id = GrantId::from_bytes([2; 16]);
        let expected = format!("event=consent outcome=approved grant={id} server=\"a/\\u{{1b}}[2J\"");
        assert_eq!(record.to_string(), expected);
    }
}
