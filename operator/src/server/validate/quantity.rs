//! Quantities in canonical form. The API server rewrites what is not canonical (`1000m` to `1`), and a desired object
//! that is rewritten would differ from the live one for ever.

/// A quantity in billionths, which is as fine as Kubernetes counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
    binary: bool,
}

const NANO: i128 = 1_000_000_000;
/// Kubernetes caps what is larger than 2^63-1.
const LARGEST: i128 = 9_223_372_036_854_775_807 * NANO;

/// The suffixes, each with its factor in billionths and whether it counts in powers of two.
const SUFFIXES: [(&str, i128, bool); 14] = [
    ("Ki", NANO << 10, true),
    ("Mi", NANO << 20, true),
    ("Gi", NANO << 30, true),
    ("Ti", NANO << 40, true),
    ("Pi", NANO << 50, true),
    ("Ei", NANO << 60, true),
    ("m", NANO / 1_000, false),
    ("k", NANO * 1_000, false),
    ("M", NANO * 1_000_000, false),
    ("G", NANO * 1_000_000_000, false),
    ("T", NANO * 1_000_000_000_000, false),
    ("P", NANO * 1_000_000_000_000_000, false),
    ("E", NANO * 1_000_000_000_000_000_000, false),
    ("", NANO, false),
];

impl Quantity {
    /// Parses a number with at most 15 digits, 9 decimals and a suffix from `m` to `E` or `Ki` to `Ei`.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, factor, binary) = SUFFIXES.iter().find_map(|(suffix, factor, binary)| {
            text.strip_suffix(suffix).map(|number| (number, *factor, *binary))
        })?;
        let (whole, decimals) = number.split_once('.').map_or((number, None), |(w, d)| (w, Some(d)));
        let digits = |t: &str, limit: usize| {
            !t.is_empty() && t.len() <= limit && t.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits(whole, 15) || decimals.is_some_and(|d| !digits(d, 9)) {
            return None;
        }
        let mut nanos = whole.parse::<i128>().ok()?.checked_mul(factor)?;
        if let Some(decimals) = decimals {
            let scale = 10_i128.pow(u32::try_from(decimals.len()).ok()?);
            // Rounded up, as Kubernetes does below a billionth.
            nanos += decimals.parse::<i128>().ok()?.checked_mul(factor)?.div_ceil_positive(scale);
        }
        (nanos <= LARGEST).then_some(Self { nanos, binary })
    }

    /// The canonical text: no fraction, the largest suffix, powers of two only where they were given and nothing is
    /// lost.
    pub fn canonical(self) -> String {
        if self.nanos == 0 {
            return "0".to_owned();
        }
        if self.binary && self.nanos % NANO == 0 && self.nanos / NANO >= 1024 {
            let mut number = self.nanos / NANO;
            let mut suffix = 0;
            while number % 1024 == 0 && suffix < 6 {
                number /= 1024;
                suffix += 1;
            }
            return format!("{number}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][suffix]);
        }
        let mut number = self.nanos;
        let mut suffix = 0;
        while number % 1000 == 0 && suffix < 9 {
            number /= 1000;
            suffix += 1;
        }
        format!("{number}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][suffix])
    }
}

trait DivCeil {
    fn div_ceil_positive(self, divisor: i128) -> i128;
}

impl DivCeil for i128 {
    fn div_ceil_positive(self, divisor: i128) -> i128 {
        (self + divisor - 1) / divisor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms_are_those_of_the_api_server() {
        let cases = [
            ("1000m", "1"),
            ("1500m", "1500m"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("25m", "25m"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("100", "100"),
            ("0", "0"),
            ("0Mi", "0"),
            ("32Mi", "32Mi"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1000k", "1M"),
            ("128M", "128M"),
            ("0.1m", "100u"),
        ];
        for (given, expected) in cases {
            assert_eq!(Quantity::parse(given).unwrap().canonical(), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "m", "1x", "1 Mi", "-1", "1e3", ".5", "1.", "1.Mi", "9999999999E", "1.2.3"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }
}
