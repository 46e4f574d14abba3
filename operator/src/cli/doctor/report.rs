//! What was found, and how it is told.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::finding::{Check, Client, Finding, Level};

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// In the order in which it was found.
    pub(super) findings: Vec<Finding>,
    /// How many of them were told already.
    told: usize,
}

impl Report {
    /// Something is as it should be.
    pub(super) fn good(&mut self, check: Check, found: impl Into<String>) {
        self.push(check, Level::Good, &[], found.into(), String::new());
    }

    /// Something that keeps `clients` away and is meant so, as far as can be told.
    pub(super) fn note(
        &mut self,
        check: Check,
        clients: &[Client],
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.push(check, Level::Note, clients, found.into(), mend.into());
    }

    /// Something that was not looked at: nothing is then said to be free of faults.
    pub(super) fn unseen(&mut self, check: Check, found: impl Into<String>, mend: impl Into<String>) {
        self.push(check, Level::Unseen, &[], found.into(), mend.into());
    }

    /// Something that nobody is known to stop at.
    pub(super) fn warn(&mut self, check: Check, found: impl Into<String>, mend: impl Into<String>) {
        self.push(check, Level::Warning, &[], found.into(), mend.into());
    }

    /// Something at which nobody stops, and by which users come to harm.
    pub(super) fn danger(&mut self, check: Check, found: impl Into<String>, mend: impl Into<String>) {
        self.push(check, Level::Danger, &[], found.into(), mend.into());
    }

    /// Something at which `clients` stop.
    pub(super) fn fault(
        &mut self,
        check: Check,
        clients: &[Client],
        found: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.push(check, Level::Fault, clients, found.into(), mend.into());
    }

    /// Adds a finding. What was found before, for other clients, is said once, for all of them; where it was told before,
    /// it is said again for those alone who are new.
    fn push(&mut self, check: Check, level: Level, clients: &[Client], found: String, mend: String) {
        let same = |f: &Finding| f.check == check && f.level == level && f.found == found && f.mend == mend;
        let known = |client: &Client| self.findings.iter().any(|f| same(f) && f.clients.contains(client));
        let new: Vec<_> = clients.iter().copied().filter(|client| !known(client)).collect();
        match self.findings.iter().rposition(same) {
            Some(at) if at >= self.told => {
                let clients = &mut self.findings[at].clients;
                clients.extend(new);
                clients.sort_unstable();
            }
            Some(_) if new.is_empty() => {}
            _ => self.findings.push(Finding { check, level, found, clients: new, mend }),
        }
    }

    /// Whether a check has said anything that is not good.
    pub(super) fn blames(&self, check: Check) -> bool {
        let blamed = |level| matches!(level, Level::Warning | Level::Danger | Level::Fault);
        self.findings.iter().any(|f| f.check == check && blamed(f.level))
    }

    /// Whether a client would stop somewhere.
    pub(super) fn has_faults(&self) -> bool {
        Client::ALL.iter().any(|client| self.stops(*client).is_some())
    }

    /// Where users are not safe.
    pub(super) fn danger_at(&self) -> Option<Check> {
        self.findings.iter().find(|f| f.level == Level::Danger).map(|f| f.check)
    }

    /// The first check at which `client` stops.
    fn stops(&self, client: Client) -> Option<Check> {
        self.named(Level::Fault, client)
    }

    /// The first check that keeps `client` away, unless it would stop at one.
    fn keeps_away(&self, client: Client) -> Option<Check> {
        self.named(Level::Note, client).filter(|_| self.stops(client).is_none())
    }

    fn named(&self, level: Level, client: Client) -> Option<Check> {
        self.findings.iter().find(|f| f.level == level && f.clients.contains(&client)).map(|f| f.check)
    }

    /// The checks of which something was not looked at.
    fn unseen_at(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for finding in self.findings.iter().filter(|f| f.level == Level::Unseen) {
            if !checks.contains(&finding.check) {
                checks.push(finding.check);
            }
        }
        checks
    }

    /// What was found and not yet told, for people.
    pub(super) fn untold(&mut self) -> String {
        let mut text = String::new();
        for Finding { check, level, found, clients, mend } in &self.findings[self.told..] {
            let mark = match level {
                Level::Good => "ok  ",
                Level::Note => "note",
                Level::Unseen => "skip",
                Level::Warning => "warn",
                Level::Danger => "RISK",
                Level::Fault => "FAIL",
            };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{mark}  {:<13} {}", check.name(), printable(found));
            if !clients.is_empty() && *level == Level::Fault {
                let _ = writeln!(text, "{:20}stops: {}", "", names(clients));
            }
            if !mend.is_empty() {
                let _ = writeln!(text, "{:20}mend:  {}", "", printable(mend));
            }
        }
        self.told = self.findings.len();
        text
    }

    /// Where each client stops, for people.
    pub(super) fn summary(&self) -> String {
        let free = if self.unseen_at().is_empty() {
            "finds nothing in its way"
        } else {
            "finds nothing in its way, as far as was looked"
        };
        let mut text = String::from("\n");
        for &client in Client::ALL {
            let says = match (self.stops(client), self.keeps_away(client)) {
                (Some(check), _) => format!("would stop at: {}", check.name()),
                (None, Some(check)) => format!("is kept away: {}", check.name()),
                (None, None) => free.to_owned(),
            };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{:<22}{says}", client.name());
        }
        if let Some(check) = self.danger_at() {
            let _ = writeln!(text, "{:<22}are not safe at: {}", "users", check.name());
        }
        text
    }

    /// The report for programs: a JSON object with every finding, and what the summary says of each client and of users.
    pub(super) fn json(&self) -> String {
        let clients = |at: fn(&Self, Client) -> Option<Check>| -> Map<String, Value> {
            Client::ALL.iter().map(|&c| (c.name().to_owned(), at(self, c).map(Check::name).into())).collect()
        };
        let report = json!({
            "findings": self.findings,
            "stops": clients(Self::stops),
            "keptAway": clients(Self::keeps_away),
            "unseen": self.unseen_at(),
            "danger": self.danger_at(),
        });
        format!("{report:#}\n")
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
        let text = report.untold() + &report.summary();
        assert!(text.contains("FAIL  issuer        odd \\u{1b}[2J\n"), "{text}");
        assert!(text.contains("stops: every client") && text.contains("stops: Codex\n"), "{text}");
        assert!(text.contains("Codex                 would stop at: issuer"), "{text}");
        assert!(text.contains("Cursor                would stop at: token"), "{text}");
        assert!(report.has_faults() && report.blames(Check::Clock) && !report.blames(Check::Reach));
        let said: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(said["findings"][0], json!({ "check": "reach", "level": "good", "found": "there" }));
        assert_eq!(said["stops"]["VS Code"], "token");
        assert_eq!(said["danger"], Value::Null);
    }

    #[test]
    fn what_is_found_again_is_said_once_for_all_clients_and_what_was_told_is_not_told_again() {
        let mut report = Report::default();
        report.fault(Check::Registration, &[Client::PythonSdk], "float", "mend it");
        report.fault(Check::Registration, &[Client::Cursor, Client::PythonSdk], "float", "mend it");
        report.fault(Check::Registration, &[Client::Cursor], "float", "mend it otherwise");
        assert_eq!(report.findings.len(), 2);
        assert_eq!(report.findings[0].clients, [Client::Cursor, Client::PythonSdk]);
        assert_eq!(report.untold().matches("float").count(), 2);
        report.fault(Check::Registration, &[Client::PythonSdk], "float", "mend it");
        assert_eq!(report.untold(), "");
        report.fault(Check::Registration, &[Client::VsCode], "float", "mend it");
        report.fault(Check::Registration, &[Client::Codex], "float", "mend it");
        assert!(report.untold().contains("stops: Codex, VS Code\n"));
        for client in [Client::Cursor, Client::VsCode, Client::Codex] {
            report.fault(Check::Registration, &[client], "float", "mend it");
        }
        assert_eq!(report.untold(), "", "who is in a later copy is known too");
    }

    #[test]
    fn the_summary_agrees_with_the_findings() {
        let mut report = Report::default();
        report.warn(Check::Cors, "odd", "mend it");
        assert!(!report.has_faults());
        assert!(report.summary().contains("ChatGPT               finds nothing in its way\n"));
        report.note(Check::Reach, Client::CLOUD, "local", "publish it");
        assert!(!report.has_faults() && !report.blames(Check::Reach));
        assert!(report.summary().contains("ChatGPT               is kept away: reach\n"));
        report.unseen(Check::Authorize, "no page", "register");
        assert!(
            report.summary().contains("VS Code               finds nothing in its way, as far as was looked")
        );
        report.danger(Check::Authorize, "open", "close it");
        assert!(report.untold().contains("RISK  authorize"));
        assert!(report.summary().contains("users                 are not safe at: authorize\n"));
        assert!(!report.has_faults() && report.danger_at().is_some());
    }

    #[test]
    fn programs_are_told_what_people_are() {
        let mut report = Report::default();
        report.note(Check::Reach, Client::CLOUD, "local", "publish it");
        report.fault(Check::Issuer, &[Client::ChatGpt], "odd", "mend it");
        report.unseen(Check::Authorize, "no page", "register");
        report.unseen(Check::Authorize, "no other page", "register");
        report.danger(Check::Token, "open", "close it");
        assert!(report.untold().contains("skip  authorize     no page\n"));
        assert!(!report.blames(Check::Authorize));
        let said: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(said["findings"][2]["level"], "unseen");
        assert_eq!(
            (&said["stops"]["ChatGPT"], &said["keptAway"]["ChatGPT"]),
            (&json!("issuer"), &Value::Null)
        );
        assert_eq!(
            (&said["stops"]["claude.ai"], &said["keptAway"]["claude.ai"]),
            (&Value::Null, &json!("reach"))
        );
        assert_eq!((&said["stops"]["Codex"], &said["keptAway"]["Codex"]), (&Value::Null, &Value::Null));
        assert_eq!((&said["unseen"], &said["danger"]), (&json!(["authorize"]), &json!("token")));
    }
}
