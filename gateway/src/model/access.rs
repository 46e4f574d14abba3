//! Who may use the server: a pure function of the configuration and a user's profile, evaluated on every call.

use gatehouse_gateway_config::{AccessConfig, AccessRule, Allow};

use super::Profile;

/// A part of a profile that a provider may withhold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// The verified e-mail address.
    Email,
    /// The groups.
    Groups,
}

/// What `access` says of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The user may use the server.
    Allowed,
    /// An entry of `access.deny` names the user; it wins over `allow`.
    Denied,
    /// No entry of `access.allow` names the user.
    NotListed,
    /// It depends on what the identity provider did not tell; the user may not use the server.
    Unknown(Attribute),
}

impl Decision {
    /// Whether the user may use the server.
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}

/// Whether an entry names a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Yes,
    No,
    Unknown(Attribute),
}

/// Decides by the profile alone, without a look-up. What is not known never helps a user: it allows nothing, and an
/// entry of `deny` that could name the user keeps them out.
pub fn decide(access: &AccessConfig, profile: &Profile) -> Decision {
    if let Some(denied) = denied(&access.deny, profile) {
        return denied;
    }
    let allowed = match &access.allow {
        Allow::Everyone => Match::Yes,
        Allow::Rules(rules) => any(rules, profile, Effect::Gives),
    };
    match allowed {
        Match::Yes => Decision::Allowed,
        Match::No => Decision::NotListed,
        Match::Unknown(attribute) => Decision::Unknown(attribute),
    }
}

/// What entries of `access.deny` say of a user; `None`: nothing.
pub fn denied(deny: &[AccessRule], profile: &Profile) -> Option<Decision> {
    match any(deny, profile, Effect::Takes) {
        Match::Yes => Some(Decision::Denied),
        Match::Unknown(attribute) => Some(Decision::Unknown(attribute)),
        Match::No => None,
    }
}

/// Whether one of the entries names the user for certain.
pub fn names(rules: &[AccessRule], profile: &Profile) -> bool {
    any(rules, profile, Effect::Gives) == Match::Yes
}

/// What it does for a user that an entry names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Gives,
    Takes,
}

impl Effect {
    /// Two names that differ in case alone are one at GitHub: a denied group must not be spelt around.
    fn same_group(self, a: &str, b: &str) -> bool {
        a == b || (self == Self::Takes && a.to_lowercase() == b.to_lowercase())
    }

    /// The addresses that count. Nor must a denied one be hidden behind another that comes first.
    fn emails(self, profile: &Profile) -> impl Iterator<Item = &str> {
        let others = if self == Self::Takes { profile.other_emails.as_slice() } else { &[] };
        profile.verified_email.iter().chain(others).map(String::as_str)
    }
}

/// Whether one of the entries names the user.
fn any(rules: &[AccessRule], profile: &Profile, effect: Effect) -> Match {
    let mut found = Match::No;
    for rule in rules {
        match matches(rule, profile, effect) {
            Match::Yes => return Match::Yes,
            Match::No => {}
            unknown @ Match::Unknown(_) => found = unknown,
        }
    }
    found
}

/// Every field that is given must match, and at least one must be given: an empty entry names nobody.
fn matches(rule: &AccessRule, profile: &Profile, effect: Effect) -> Match {
    let AccessRule { subjects, emails, email_domains, groups } = rule;
    let (no_email, no_groups) = (profile.unknown.email, profile.unknown.groups);
    let unless = |unknown: bool, attribute, found| match (found, unknown) {
        (true, _) => Match::Yes,
        (false, true) => Match::Unknown(attribute),
        (false, false) => Match::No,
    };
    let has_email = |list: &[String], part: fn(&str) -> Option<&str>| {
        let found = effect.emails(profile).filter_map(part).any(|part| contains_ignoring_case(list, part));
        unless(no_email, Attribute::Email, found)
    };
    let in_group = groups.iter().any(|group| profile.groups.iter().any(|own| effect.same_group(group, own)));
    let checks = [
        (subjects, unless(false, Attribute::Groups, subjects.contains(&profile.subject))),
        (emails, has_email(emails, |email| Some(email))),
        (email_domains, has_email(email_domains, |email| Some(email.rsplit_once('@')?.1))),
        (groups, unless(no_groups, Attribute::Groups, in_group)),
    ];
    let mut given = checks.iter().filter(|(field, _)| !field.is_empty()).map(|(_, found)| *found).peekable();
    if given.peek().is_none() {
        return Match::No;
    }
    given.fold(Match::Yes, |all, this| match (all, this) {
        (Match::No, _) | (_, Match::No) => Match::No,
        (unknown @ Match::Unknown(_), _) => unknown,
        (Match::Yes, this) => this,
    })
}

fn contains_ignoring_case(list: &[String], value: &str) -> bool {
    // Addresses are compared as their providers do, beyond ASCII too.
    let value = value.to_lowercase();
    list.iter().any(|entry| entry.to_lowercase() == value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Unknown;

    fn access(allow: Allow, deny: Vec<AccessRule>) -> AccessConfig {
        AccessConfig { allow, deny, recheck_every: Duration::ZERO, recheck_tolerate: Duration::ZERO }
    }

    fn alice() -> Profile {
        Profile {
            subject: "1".to_owned(),
            name: Some("Alice".to_owned()),
            verified_email: Some("alice@Example.com".to_owned()),
            groups: vec!["acme/platform".to_owned()],
            ..Profile::default()
        }
    }

    fn rule(field: &str, value: &str) -> AccessRule {
        let values = vec![value.to_owned()];
        match field {
            "subjects" => AccessRule { subjects: values, ..AccessRule::default() },
            "emails" => AccessRule { emails: values, ..AccessRule::default() },
            "domains" => AccessRule { email_domains: values, ..AccessRule::default() },
            _ => AccessRule { groups: values, ..AccessRule::default() },
        }
    }

    #[test]
    fn each_field_admits_its_user_and_nobody_else() {
        for (field, yes, no) in [
            ("subjects", "1", "11"),
            ("emails", "ALICE@example.com", "bob@example.com"),
            ("domains", "example.COM", "sub.example.com"),
            ("groups", "acme/platform", "acme"),
        ] {
            let decision = |value| decide(&access(Allow::Rules(vec![rule(field, value)]), vec![]), &alice());
            assert_eq!(decision(yes), Decision::Allowed, "{field}");
            assert_eq!(decision(no), Decision::NotListed, "{field}");
        }
    }

    #[test]
    fn fields_of_one_entry_must_all_match() {
        let both = AccessRule { subjects: vec!["2".to_owned()], ..rule("groups", "acme/platform") };
        assert_eq!(decide(&access(Allow::Rules(vec![both]), vec![]), &alice()), Decision::NotListed);
    }

    #[test]
    fn deny_wins_and_an_empty_entry_names_nobody() {
        let deny = vec![rule("subjects", "1")];
        assert_eq!(decide(&access(Allow::Everyone, deny), &alice()), Decision::Denied);
        let empty = vec![AccessRule::default()];
        assert_eq!(decide(&access(Allow::Rules(empty.clone()), vec![]), &alice()), Decision::NotListed);
        assert_eq!(decide(&access(Allow::Everyone, empty), &alice()), Decision::Allowed);
    }

    #[test]
    fn a_denied_address_is_not_hidden_behind_another_that_admits_nobody() {
        let other = vec!["bob@corp.example".to_owned(), "no address".to_owned()];
        let both = Profile { other_emails: other, ..alice() };
        for (field, value) in [("emails", "BOB@corp.example"), ("domains", "Corp.example")] {
            let rules = vec![rule(field, value)];
            assert_eq!(decide(&access(Allow::Everyone, rules.clone()), &both), Decision::Denied, "{field}");
            assert_eq!(
                decide(&access(Allow::Everyone, rules.clone()), &alice()),
                Decision::Allowed,
                "{field}"
            );
            assert_eq!(decide(&access(Allow::Rules(rules), vec![]), &both), Decision::NotListed, "{field}");
        }
    }

    #[test]
    fn an_unverified_address_admits_nobody() {
        let unverified = Profile { verified_email: None, ..alice() };
        let rules = Allow::Rules(vec![rule("domains", "example.com")]);
        assert_eq!(decide(&access(rules, vec![]), &unverified), Decision::NotListed);
    }

    #[test]
    fn what_the_provider_withheld_helps_nobody() {
        let groups = Profile { groups: vec![], unknown: Unknown { groups: true, email: false }, ..alice() };
        let email =
            Profile { verified_email: None, unknown: Unknown { email: true, groups: false }, ..alice() };
        for (profile, attribute, fields) in [
            (&groups, Attribute::Groups, &[("groups", "acme/contractors")][..]),
            (&email, Attribute::Email, &[("emails", "bob@example.com"), ("domains", "example.org")][..]),
        ] {
            for (field, value) in fields {
                let rules = vec![rule(field, value)];
                let unknown = Decision::Unknown(attribute);
                assert_eq!(decide(&access(Allow::Everyone, rules.clone()), profile), unknown, "{field}");
                assert_eq!(decide(&access(Allow::Rules(rules.clone()), vec![]), profile), unknown, "{field}");
                // What is known decides where it can: another field that does not match, another entry that does.
                let narrowed = AccessRule { subjects: vec!["2".to_owned()], ..rule(field, value) };
                let decision = decide(&access(Allow::Everyone, vec![narrowed]), profile);
                assert_eq!(decision, Decision::Allowed, "{field}");
                let either = Allow::Rules(vec![rule("subjects", "1"), rule(field, value)]);
                assert_eq!(decide(&access(either, vec![]), profile), Decision::Allowed, "{field}");
            }
        }
        // Of a list that was cut, what is there counts.
        let cut = Profile { unknown: Unknown { groups: true, email: false }, ..alice() };
        let rules = vec![rule("groups", "acme/platform")];
        assert_eq!(decide(&access(Allow::Rules(rules.clone()), vec![]), &cut), Decision::Allowed);
        assert_eq!(decide(&access(Allow::Everyone, rules), &cut), Decision::Denied);
    }

    #[test]
    fn a_denied_group_is_denied_in_any_case_and_an_allowed_one_is_exact() {
        let rules = vec![rule("groups", "ACME/Platform")];
        assert_eq!(decide(&access(Allow::Everyone, rules.clone()), &alice()), Decision::Denied);
        assert_eq!(decide(&access(Allow::Rules(rules), vec![]), &alice()), Decision::NotListed);
    }
}
