//! Who may use the server: a pure function of the configuration and a user's profile, evaluated on every call.

use gatehouse_gateway_config::{AccessConfig, AccessRule, Allow};

use super::Profile;

/// What `access` says of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The user may use the server.
    Allowed,
    /// An entry of `access.deny` names the user; it wins over `allow`.
    Denied,
    /// No entry of `access.allow` names the user.
    NotListed,
}

impl Decision {
    /// Whether the user may use the server.
    pub fn is_allowed(self) -> bool {
        self == Self::Allowed
    }
}

/// Decides by the profile alone, without a look-up.
pub fn decide(access: &AccessConfig, profile: &Profile) -> Decision {
    if access.deny.iter().any(|rule| matches(rule, profile)) {
        return Decision::Denied;
    }
    let allowed = match &access.allow {
        Allow::Everyone => true,
        Allow::Rules(rules) => rules.iter().any(|rule| matches(rule, profile)),
    };
    if allowed { Decision::Allowed } else { Decision::NotListed }
}

/// Every field that is given must match, and at least one must be given: an empty entry names nobody.
fn matches(rule: &AccessRule, profile: &Profile) -> bool {
    let AccessRule { subjects, emails, email_domains, groups } = rule;
    let email = profile.verified_email.as_deref();
    let domain = email.and_then(|e| e.rsplit_once('@')).map(|(_, domain)| domain);
    let checks = [
        (subjects, subjects.contains(&profile.subject)),
        (emails, email.is_some_and(|email| contains_ignoring_case(emails, email))),
        (email_domains, domain.is_some_and(|domain| contains_ignoring_case(email_domains, domain))),
        (groups, groups.iter().any(|group| profile.groups.contains(group))),
    ];
    let mut given = checks.iter().filter(|(field, _)| !field.is_empty()).peekable();
    given.peek().is_some() && given.all(|(_, matched)| *matched)
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

    fn access(allow: Allow, deny: Vec<AccessRule>) -> AccessConfig {
        AccessConfig { allow, deny, recheck_every: Duration::ZERO, recheck_tolerate: Duration::ZERO }
    }

    fn alice() -> Profile {
        Profile {
            subject: "1".to_owned(),
            name: Some("Alice".to_owned()),
            verified_email: Some("alice@Example.com".to_owned()),
            groups: vec!["acme/platform".to_owned()],
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
    fn an_unverified_address_admits_nobody() {
        let unverified = Profile { verified_email: None, ..alice() };
        let rules = Allow::Rules(vec![rule("domains", "example.com")]);
        assert_eq!(decide(&access(rules, vec![]), &unverified), Decision::NotListed);
    }
}
