//! `spec.access`: who may, and whether the identity can tell.

use gatehouse_gateway_config::{
    AccessConfig, AccessRule, Allow, IdentityConfig, OAuth2Config, preset::Provider,
};

use super::Checks;
use crate::crd::{condition::Reason, server_access::AccessEntry};

/// Checks the rules; what the gateway is told of them, when nothing is wrong.
pub(super) fn check(checks: &mut Checks<'_>, identity: Option<&IdentityConfig>) -> Option<AccessConfig> {
    let access = checks.server.spec.access.clone();
    let allow = match (access.allow, access.everyone) {
        (Some(entries), None) if !entries.is_empty() => {
            Allow::Rules(rules(checks, "spec.access.allow", &entries))
        }
        (None, Some(_)) => Allow::Everyone,
        _ => {
            checks.invalid(
                "spec.access",
                "access needs exactly one of allow (with at least one entry) and everyone",
            );
            return None;
        }
    };
    let deny = rules(checks, "spec.access.deny", &access.deny);
    if allow == Allow::Everyone {
        refuse_shared_credentials(checks);
    }
    if let Some(identity) = identity {
        let mut all: Vec<(String, &AccessRule)> = Vec::new();
        if let Allow::Rules(rules) = &allow {
            all.extend(rules.iter().enumerate().map(|(i, r)| (format!("spec.access.allow[{i}]"), r)));
        }
        all.extend(deny.iter().enumerate().map(|(i, r)| (format!("spec.access.deny[{i}]"), r)));
        for (field, rule) in all {
            answerable(checks, identity, &field, rule);
        }
    }
    let recheck = access.recheck.unwrap_or_default();
    Some(AccessConfig { allow, deny, recheck_every: recheck.every.0, recheck_tolerate: recheck.tolerate.0 })
}

/// An entry without a field would match everyone, so it is refused wherever it stands.
pub(super) fn rules(checks: &mut Checks<'_>, list: &str, entries: &[AccessEntry]) -> Vec<AccessRule> {
    let mut rules = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let rule = rule(entry);
        if rule == AccessRule::default() {
            checks.invalid(
                format!("{list}[{index}]"),
                "an entry needs at least one of subjects, emails, emailDomains and groups",
            );
        }
        rules.push(rule);
    }
    rules
}

/// An entry as the gateway evaluates it.
pub(in crate::server) fn rule(entry: &AccessEntry) -> AccessRule {
    AccessRule {
        subjects: entry.subjects.clone().unwrap_or_default(),
        emails: entry.emails.clone().unwrap_or_default(),
        email_domains: entry.email_domains.clone().unwrap_or_default(),
        groups: entry.groups.clone().unwrap_or_default(),
    }
}

fn refuse_shared_credentials(checks: &mut Checks<'_>) {
    let shared = checks.server.spec.credentials.iter().position(|c| c.static_.is_some());
    if let Some(index) = shared {
        let message = format!(
            "everyone who can sign in would act with the shared credential \"{}\" (spec.credentials[{index}].static); say \
             in spec.access.allow who may",
            checks.server.spec.credentials[index].name
        );
        checks.invalid("spec.access.everyone", message);
    }
}

/// Whether the identity provider, as it is asked, can ever tell what a rule wants to know.
pub(super) fn answerable(checks: &mut Checks<'_>, identity: &IdentityConfig, field: &str, rule: &AccessRule) {
    let emails = !rule.emails.is_empty() || !rule.email_domains.is_empty();
    let email_field = if rule.emails.is_empty() { "emailDomains" } else { "emails" };
    let groups = !rule.groups.is_empty();
    match identity {
        IdentityConfig::Oauth2(config) => {
            if emails {
                oauth2_email(checks, config, &format!("{field}.{email_field}"));
            }
            if groups {
                oauth2_groups(checks, config, &format!("{field}.groups"));
            }
        }
        IdentityConfig::Oidc(config) => {
            // OpenID Connect Core 5.4: the claim `email` comes with the scope `email`.
            let standard = config.email_claim == "email";
            if emails && config.verified_by().is_none() {
                checks.invalid(
                    "spec.identity.oidc.claims.emailVerified",
                    format!(
                        "{field}.{email_field} needs verified e-mail addresses, and email_verified speaks of the claim email \
                         alone, not of \"{}\": name the claim that says whether it is verified",
                        config.email_claim
                    ),
                );
            }
            if emails && standard && !config.scopes.iter().any(|s| s == "email") {
                scope_missing(
                    checks,
                    "spec.identity.oidc.scopes",
                    &config.scopes,
                    "email",
                    &format!("{field}.{email_field}"),
                );
            }
        }
        IdentityConfig::Local(_) => {}
    }
}

fn oauth2_email(checks: &mut Checks<'_>, config: &OAuth2Config, used: &str) {
    if let Some(provider) = config.provider {
        preset_tells(checks, config, (provider, provider.email_scope(), "verified e-mail addresses"), used);
    } else if config.user_info.email.is_none() || config.user_info.email_verified.is_none() {
        checks.invalid(
            "spec.identity.oauth2.userInfo",
            format!("{used} needs verified e-mail addresses: set userInfo.email and userInfo.emailVerified"),
        );
    }
}

fn oauth2_groups(checks: &mut Checks<'_>, config: &OAuth2Config, used: &str) {
    if let Some(provider) = config.provider {
        preset_tells(checks, config, (provider, provider.groups_scope(), "groups"), used);
    } else if config.user_info.groups.is_none() {
        checks.invalid("spec.identity.oauth2.userInfo", format!("{used} needs groups: set userInfo.groups"));
    }
}

/// Whether a preset's provider tells `what` at all, and is asked for the scope that it wants for that.
fn preset_tells(
    checks: &mut Checks<'_>,
    config: &OAuth2Config,
    (provider, wanted, what): (Provider, Option<&str>, &str),
    used: &str,
) {
    let Some(wanted) = wanted else {
        let name = provider.name();
        let message =
            format!("{name} does not tell {what}, so nobody would match: use subjects, or everyone");
        return checks.invalid(used, message);
    };
    let asked = provider.ignores_scopes(&config.client_id).is_some()
        || config.scopes.iter().any(|s| provider.implies(s, wanted));
    if !asked {
        scope_missing(checks, "spec.identity.oauth2.scopes", &config.scopes, wanted, used);
    }
}

fn scope_missing(checks: &mut Checks<'_>, field: &str, found: &[String], wanted: &str, used: &str) {
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let message = format!(
        "the scope \"{wanted}\" is missing (found: {found}); without it the provider does not tell what {used} asks for, and \
         nobody would match: add it"
    );
    checks.accepted(Reason::ScopeMissing, field, message);
}
