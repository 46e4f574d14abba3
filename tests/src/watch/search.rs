//! Many secrets looked for at once, in every shape that a log or a record may give them.

use std::collections::{BTreeSet, HashMap};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use url::form_urlencoded;

use super::secrets::SHORTEST;

/// The bits by which most places of a text are passed over.
const BITS: u32 = 20;

/// Secrets of at least [`SHORTEST`] bytes, ready to be looked for.
#[derive(Debug)]
pub(super) struct Search {
    /// Each shape with its secret, by its first bytes.
    shapes: HashMap<[u8; SHORTEST], Vec<(String, String)>>,
    /// Which places are worth a look, by their first four bytes: the suites are not optimised, and logs are long.
    begins: Vec<bool>,
}

impl Search {
    pub(super) fn of(secrets: impl IntoIterator<Item = String>) -> Self {
        let mut this = Self { shapes: HashMap::new(), begins: vec![false; 1 << BITS] };
        for secret in secrets {
            for shape in shapes(&secret) {
                let begin = *shape.as_bytes().first_chunk().expect("no shape is shorter than its secret");
                this.begins[place(begin)] = true;
                this.shapes.entry(begin).or_default().push((shape, secret.clone()));
            }
        }
        this
    }

    /// The secrets that stand in a text.
    pub(super) fn found_in(&self, text: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut rest = text.as_bytes();
        while let Some(begin) = rest.first_chunk() {
            if self.begins[place(*begin)] {
                let shapes = self.shapes.get(begin).into_iter().flatten();
                let here = shapes.filter(|(shape, _)| rest.starts_with(shape.as_bytes()));
                found.extend(here.map(|(_, secret)| secret.clone()));
            }
            rest = &rest[1..];
        }
        found
    }
}

fn place([a, b, c, d, ..]: [u8; SHORTEST]) -> usize {
    let mixed = u32::from_le_bytes([a, b, c, d]).wrapping_mul(0x9e37_79b1);
    (mixed >> (u32::BITS - BITS)) as usize
}

/// As it is, percent-encoded, and in base64, alone or within something longer.
fn shapes(secret: &str) -> BTreeSet<String> {
    let encoded = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let within = (0..3).flat_map(|before| {
        let bytes = [&[0; 2][..before], secret.as_bytes()].concat();
        // What it shares a character with is not known.
        let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)]
            .map(|text| text[first..last].to_owned())
    });
    [secret.to_owned(), encoded].into_iter().chain(within).collect()
}
