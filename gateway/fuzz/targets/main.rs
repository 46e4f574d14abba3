//! Feeds one parser, the one that this program is named after.

#![no_main]

mod feed;

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|input: &[u8]| -> Corpus {
    if feed::feed(env!("CARGO_BIN_NAME"), input) { Corpus::Keep } else { Corpus::Reject }
});
