//! Durations as Kubernetes writes them: GEP-2257, for example `1h30m`, `500ms`, `0s`.

use std::{fmt::Write, time::Duration};

/// The pattern of GEP-2257, for the CRD schema.
pub const PATTERN: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{found}\" is not a duration: one to four pairs of a number (up to 99999) and h, m, s or ms, for example 1h30m"
)]
pub struct DurationError {
    found: String,
}

/// Parses a GEP-2257 duration.
///
/// # Errors
/// When the text does not match [`PATTERN`].
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let fail = || DurationError { found: text.chars().take(64).collect() };
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut pairs = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) || pairs == 4 {
            return Err(fail());
        }
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| fail())?;
        let (unit, tail) = if let Some(tail) = tail.strip_prefix("ms") {
            (Duration::from_millis(number), tail)
        } else if let Some(tail) = tail.strip_prefix('h') {
            (Duration::from_secs(number * 3600), tail)
        } else if let Some(tail) = tail.strip_prefix('m') {
            (Duration::from_secs(number * 60), tail)
        } else if let Some(tail) = tail.strip_prefix('s') {
            (Duration::from_secs(number), tail)
        } else {
            return Err(fail());
        };
        total += unit;
        rest = tail;
        pairs += 1;
    }
    if pairs == 0 { Err(fail()) } else { Ok(total) }
}

/// Writes a duration in GEP-2257, with the largest units first. What is below a millisecond is dropped.
pub fn format(duration: Duration) -> String {
    let total = duration.as_millis();
    let parts = [(3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut rest = total;
    let mut out = String::new();
    for (size, unit) in parts {
        if rest >= size {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{unit}", rest / size);
            rest %= size;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// `#[serde(with = "duration::serde")]` for a [`Duration`] that is written as GEP-2257.
pub mod serde {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the duration.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format(*duration))
    }

    /// Reads the duration.
    ///
    /// # Errors
    /// When the value is not a GEP-2257 text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["1h30m", "500ms", "0s", "720h", "10m", "1h2m3s4ms"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(parse("90m").unwrap(), Duration::from_secs(5400));
    }

    #[test]
    fn refuses_what_gep_2257_refuses() {
        for text in ["", "1", "h", "1d", "-1s", "1.5s", "123456s", "1s1s1s1s1s", "1 s"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
