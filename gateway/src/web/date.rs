//! Days and lengths of time as people write them.

use std::time::Duration;

/// A day, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// `2026-11-24`.
    pub iso: String,
    /// `24 November 2026`.
    pub words: String,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The day of `unix` (seconds since 1970) in UTC.
pub fn day(unix: i64) -> Day {
    let (year, month, day) = civil(unix);
    let name = usize::try_from(month - 1).ok().and_then(|index| MONTHS.get(index)).unwrap_or(&"");
    Day { iso: format!("{year:04}-{month:02}-{day:02}"), words: format!("{day} {name} {year}") }
}

/// How long ago `unix` was, in words: minutes and hours of the last day, else the day.
pub fn ago(now: i64, unix: i64) -> Day {
    let Day { iso, words } = day(unix);
    let (minutes, hours) = (now.saturating_sub(unix) / 60, now.saturating_sub(unix) / 3600);
    let words = match (minutes, hours) {
        (..2, _) => "just now".to_owned(),
        (_, ..1) => format!("{minutes} minutes ago"),
        (_, 1) => "an hour ago".to_owned(),
        (_, ..24) => format!("{hours} hours ago"),
        _ => format!("on {words}"),
    };
    Day { iso, words }
}

/// A length of time, exact to the second: "30 days", "1 hour 30 minutes".
pub fn span(length: Duration) -> String {
    let mut rest = length.as_secs();
    let mut parts = Vec::new();
    for (unit, name) in [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")] {
        let count = rest / unit;
        rest %= unit;
        match count {
            0 => {}
            1 => parts.push(format!("1 {name}")),
            _ => parts.push(format!("{count} {name}s")),
        }
    }
    parts.join(" ")
}

/// Year, month and day of `unix` (seconds since 1970) in UTC.
pub(crate) fn civil(unix: i64) -> (i64, i64, i64) {
    // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let days = unix.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_ago() {
        let now = 1_795_478_400;
        for (seconds, expected) in [
            (-5, "just now"),
            (119, "just now"),
            (120, "2 minutes ago"),
            (3599, "59 minutes ago"),
            (3600, "an hour ago"),
            (86_399, "23 hours ago"),
            (86_400, "on 23 November 2026"),
        ] {
            assert_eq!(ago(now, now - seconds).words, expected);
        }
    }

    #[test]
    fn spans() {
        for (seconds, expected) in [
            (1, "1 second"),
            (3600, "1 hour"),
            (5400, "1 hour 30 minutes"),
            (86_400, "1 day"),
            (90_000, "1 day 1 hour"),
            (720 * 3600, "30 days"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn days() {
        for (unix, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_478_400, "2026-11-24"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(day(unix).iso, expected);
        }
        assert_eq!(day(1_795_478_400).words, "24 November 2026");
        assert_eq!(day(951_868_800).words, "1 March 2000");
    }
}
