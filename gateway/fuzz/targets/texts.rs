//! Texts for parsers, which the fuzzing programs and the properties make alike.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// The text of a token, a code or a client id under the key that comes next, which nobody has.
pub(crate) fn under_next_key(text: &str) -> String {
    let start = ["gc_", "gha_"].iter().find(|prefix| text.starts_with(**prefix)).map_or(0, |it| it.len());
    let mut bytes = URL_SAFE_NO_PAD.decode(&text[start..]).expect("what we made");
    bytes[0] += 1;
    format!("{}{}", &text[..start], URL_SAFE_NO_PAD.encode(bytes))
}

/// What fits in a request line.
pub(crate) fn printable(input: &[u8]) -> String {
    let fits = |b: &&u8| b.is_ascii_graphic() && !b"<>\"{}|\\^`#".contains(b);
    input.iter().filter(fits).map(|b| char::from(*b)).collect()
}
