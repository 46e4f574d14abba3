//! What was found, and how it is told.

use std::fmt::Write;

use super::finding::{Check, Client, Finding, Level};

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<Finding>);

impl Report {
    /// Something is as it should be.
    pub(super) fn good(&mut self, check: Check, found: impl Into<String>) {
        self.0.push(Finding {
            check,
            level: Level::Good,
            found: found.into(),
            clients: &[],
            mend: String::new(),
        });
    }

    /// Something that nobody is known to stop at.
    pub(super) fn warn(&mut self, check: Check, found: impl Into<String>, mend: impl Into<String>) {
        let (found, mend) = (found.into(), mend.into());
        self.0.push(Finding { check, level: Level::Warning, found, clients: &[], mend });
    }

    /// Something at which `clients` stop.
    pub(super) fn fault(
        &mut self,
        check: Check,
        clients: &'static [Client],
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let (found, mend) = (found.into(), mend.into());
        self.0.push(Finding { check, level: Level::Fault, found, clients, mend });
    }

    /// Whether a check has said anything that is not good.
    pub(super) fn blames(&self, check: Check) -> bool {
        self.0.iter().any(|f| f.check == check && f.level != Level::Good)
    }

    /// Whether a client would stop somewhere.
    pub(super) fn has_faults(&self) -> bool {
        self.0.iter().any(|f| f.level == Level::Fault)
    }

    /// The first check at which `client` stops.
    fn stops(&self, client: Client) -> Option<Check> {
        self.0.iter().find(|f| f.level == Level::Fault && f.clients.contains(&client)).map(|f| f.check)
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Finding { check, level, found, clients, mend } in &self.0 {
            let mark = match level {
                Level::Good => "ok  ",
                Level::Warning => "warn",
                Level::Fault => "FAIL",
            };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{mark}  {:<13} {}", check.name(), printable(found));
            if !clients.is_empty() {
                let _ = writeln!(text, "{:20}stops: {}", "", names(clients));
            }
            if !mend.is_empty() {
                let _ = writeln!(text, "{:20}mend:  {}", "", printable(mend));
            }
        }
        text.push('\n');
        for &client in Client::ALL {
            let _ = match self.stops(client) {
                None => writeln!(text, "{:<22}finds nothing in its way", client.name()),
                Some(check) => writeln!(text, "{:<22}would stop at: {}", client.name(), check.name()),
            };
        }
        text
    }

    /// The report for programs: a JSON object with every finding, and where each client would stop.
    pub(super) fn json(&self) -> String {
        let clients: serde_json::Map<String, serde_json::Value> = Client::ALL
            .iter()
            .map(|&c| (c.name().to_owned(), self.stops(c).map(Check::name).into()))
            .collect();
        format!("{:#}\n", serde_json::json!({ "findings": self.0, "stops": clients }))
    }
}

fn names(clients: &[Client]) -> String {
    if clients.len() == Client::ALL.len() {
        return "every client".to_owned();
    }
    clients.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")
}

/// What a server sent goes to a terminal: nothing in it may be a control sequence.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
                .chars()
                .collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_who_stops_where_and_nothing_from_a_server_moves_the_cursor() {
        let mut report = Report::default();
        report.good(Check::Reach, "there");
        report.warn(Check::Clock, "off", "set it");
        report.fault(Check::Issuer, &[Client::Codex], "odd \u{1b}[2J", "mend it");
        report.fault(Check::Token, Client::ALL, "gone", "route it");
        let text = report.text();
        assert!(text.contains("FAIL  issuer        odd \\u{1b}[2J\n"), "{text}");
        assert!(text.contains("stops: every client") && text.contains("stops: Codex\n"), "{text}");
        assert!(text.contains("Codex                 would stop at: issuer"), "{text}");
        assert!(text.contains("Cursor                would stop at: token"), "{text}");
        assert!(report.has_faults() && report.blames(Check::Clock) && !report.blames(Check::Reach));
        let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(
            json["findings"][0],
            serde_json::json!({ "check": "reach", "level": "good", "found": "there" })
        );
        assert_eq!(json["stops"]["VS Code"], "token");
    }
}
