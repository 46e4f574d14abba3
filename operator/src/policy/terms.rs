//! From the terms of a policy to what the gateway is told, below the operator's ceilings.

use std::time::Duration;

use gatehouse_gateway_config::{
    LifetimesConfig, PolicyConfig, RegistrationMode, duration,
    policy::{MetadataDocumentsConfig, RedirectUrisConfig, RegistrationConfig},
};

use crate::{
    config::{PolicyCeilings, PolicyTerms},
    crd::{
        OAuthClientPolicySpec,
        policy::{Lifetimes, MetadataDocuments},
        primitive::{GepDuration, Mode},
    },
};

/// The terms of a policy, without its targets.
pub fn of_policy(spec: &OAuthClientPolicySpec) -> PolicyTerms {
    PolicyTerms {
        registration: spec.registration.clone(),
        redirect_uris: spec.redirect_uris.clone(),
        scopes: spec.scopes.clone(),
        lifetimes: spec.lifetimes.clone(),
    }
}

/// What the gateway is told, but for the clients, which are a policy's own.
pub fn config(terms: &PolicyTerms) -> PolicyConfig {
    let dynamic = terms.registration.as_ref().and_then(|r| r.dynamic.as_ref());
    let registration = dynamic.map_or_else(RegistrationConfig::default, |d| RegistrationConfig {
        mode: mode(d.mode),
        lifetime: d.lifetime.0,
        not_before: d.not_before.as_ref().map(|t| t.0.as_second()),
    });
    let metadata_documents =
        terms.registration.as_ref().and_then(|r| r.metadata_documents.as_ref()).map(documents);
    let redirect_uris =
        terms.redirect_uris.as_ref().map_or_else(RedirectUrisConfig::default, |r| RedirectUrisConfig {
            loopback: mode(r.loopback),
            known_clients: mode(r.known_clients),
            allow: r.allow.clone(),
        });
    let lifetimes = terms.lifetimes.as_ref().map_or_else(LifetimesConfig::default, lifetimes);
    PolicyConfig {
        registration,
        metadata_documents,
        redirect_uris,
        clients: Vec::new(),
        scopes: terms.scopes.as_ref().and_then(|s| s.allow.clone()),
        lifetimes,
    }
}

fn documents(given: &MetadataDocuments) -> MetadataDocumentsConfig {
    MetadataDocumentsConfig { mode: mode(given.mode), allowed_hosts: given.allowed_hosts.clone() }
}

fn mode(mode: Mode) -> RegistrationMode {
    match mode {
        Mode::Allowed => RegistrationMode::Allowed,
        Mode::Refused => RegistrationMode::Refused,
    }
}

fn lifetimes(given: &Lifetimes) -> LifetimesConfig {
    LifetimesConfig {
        authorization_code: given.authorization_code.0,
        access_token: given.access_token.0,
        refresh_token: given.refresh_token.0,
        refresh_grace: given.refresh_grace.0,
        sign_in: given.sign_in.0,
    }
}

/// The terms below the ceilings, and what was lowered, in words. `on_loopback`: of a server whose issuer is http on
/// loopback, which offers no documents unless its policy speaks of them.
pub fn capped(
    mut config: PolicyConfig,
    ceilings: &PolicyCeilings,
    on_loopback: bool,
) -> (PolicyConfig, Vec<String>) {
    let mut said = Vec::new();
    let mut lower = |name: &str, value: &mut Duration, ceiling: Option<Duration>| {
        if let Some(ceiling) = ceiling.filter(|c| *value > *c) {
            said.push(format!("{name} from {} to {}", duration::format(*value), duration::format(ceiling)));
            *value = ceiling;
        }
    };
    let tops = ceilings.lifetimes.clone().unwrap_or_default();
    let top = |ceiling: Option<GepDuration>, longer: Duration| ceiling.map_or(longer, |c| c.0.min(longer));
    // From the longest down: what a ceiling has just shortened bounds what must not outlive it.
    let lifetimes = &mut config.lifetimes;
    lower("lifetimes.signIn", &mut lifetimes.sign_in, tops.sign_in.map(|d| d.0));
    let refresh = top(tops.refresh_token, lifetimes.sign_in);
    lower("lifetimes.refreshToken", &mut lifetimes.refresh_token, Some(refresh));
    let access = top(tops.access_token, lifetimes.refresh_token);
    lower("lifetimes.accessToken", &mut lifetimes.access_token, Some(access));
    let grace = top(tops.refresh_grace, lifetimes.access_token / 2);
    lower("lifetimes.refreshGrace", &mut lifetimes.refresh_grace, Some(grace));
    lower(
        "registration.dynamic.lifetime",
        &mut config.registration.lifetime,
        ceilings.registration_lifetime.map(|d| d.0),
    );
    if ceilings.dynamic_registration == Some(Mode::Refused)
        && config.registration.mode == RegistrationMode::Allowed
    {
        said.push("registration.dynamic.mode from Allowed to Refused".to_owned());
        config.registration.mode = RegistrationMode::Refused;
    }
    let silent = on_loopback && config.metadata_documents.is_none();
    if let Some(ceiling) = documents_ceiling(ceilings).filter(|_| !silent) {
        let given = config.metadata_documents.unwrap_or_default();
        config.metadata_documents = Some(capped_documents(given, &ceiling, &mut said));
    }
    (config, said)
}

/// The ceiling of documents: its own, or else that of registration, which means every client that nobody named.
fn documents_ceiling(ceilings: &PolicyCeilings) -> Option<MetadataDocumentsConfig> {
    let refused = ceilings.dynamic_registration == Some(Mode::Refused);
    let own = ceilings.metadata_documents.as_ref().map(documents);
    own.or_else(|| {
        refused.then(|| MetadataDocumentsConfig {
            mode: RegistrationMode::Refused,
            ..MetadataDocumentsConfig::default()
        })
    })
}

fn capped_documents(
    given: MetadataDocumentsConfig,
    ceiling: &MetadataDocumentsConfig,
    said: &mut Vec<String>,
) -> MetadataDocumentsConfig {
    if given.mode == RegistrationMode::Refused {
        return given;
    }
    let allowed_hosts = common_hosts(&given.allowed_hosts, &ceiling.allowed_hosts);
    if ceiling.mode == RegistrationMode::Refused || allowed_hosts.is_empty() {
        said.push("registration.metadataDocuments.mode from Allowed to Refused".to_owned());
        return MetadataDocumentsConfig { mode: RegistrationMode::Refused, ..given };
    }
    if allowed_hosts != given.allowed_hosts {
        let (from, to) = (given.allowed_hosts.join(", "), allowed_hosts.join(", "));
        said.push(format!("registration.metadataDocuments.allowedHosts from {from} to {to}"));
    }
    MetadataDocumentsConfig { allowed_hosts, ..given }
}

/// The hosts that both lists of patterns name: of each pair of patterns the narrower one.
fn common_hosts(given: &[String], ceiling: &[String]) -> Vec<String> {
    let covers = |wide: &str, narrow: &str| {
        wide == narrow || wide.strip_prefix('*').is_some_and(|below| narrow.ends_with(below))
    };
    let mut common: Vec<String> = Vec::new();
    for (one, other) in given.iter().flat_map(|one| ceiling.iter().map(move |other| (one, other))) {
        let narrower = match () {
            () if covers(other, one) => one,
            () if covers(one, other) => other,
            () => continue,
        };
        if !common.contains(narrower) {
            common.push(narrower.clone());
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_of_the_crd_are_those_of_the_gateway() {
        let spec: OAuthClientPolicySpec = serde_json::from_value(serde_json::json!({
            "targetRefs": [{ "selector": {} }],
            "registration": { "dynamic": {} }, "redirectUris": {}, "lifetimes": {},
        }))
        .unwrap();
        assert_eq!(config(&of_policy(&spec)), PolicyConfig::default());
    }

    #[test]
    fn documents_are_told_of_only_where_a_policy_speaks_of_them() {
        let of = |registration: serde_json::Value| {
            let spec =
                serde_json::json!({ "targetRefs": [{ "selector": {} }], "registration": registration });
            let spec: OAuthClientPolicySpec = serde_json::from_value(spec).unwrap();
            config(&of_policy(&spec)).metadata_documents
        };
        assert_eq!(of(serde_json::json!({})), None);
        let documents = serde_json::json!({ "metadataDocuments": {} });
        assert_eq!(of(documents), Some(MetadataDocumentsConfig::default()));
        let documents = of(serde_json::json!({ "metadataDocuments": { "mode": "Refused" } })).unwrap();
        assert!(!documents.admits("claude.ai"));
        let hosts = ["claude.ai", "*.example.com"];
        let documents = of(serde_json::json!({ "metadataDocuments": { "allowedHosts": hosts } })).unwrap();
        for (host, admitted) in [
            ("claude.ai", true),
            ("a.claude.ai", false),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("badexample.com", false),
        ] {
            assert_eq!(documents.admits(host), admitted, "{host}");
        }
    }

    fn ceilings(value: serde_json::Value) -> PolicyCeilings {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn ceilings_lower_and_say_so() {
        let ceilings = ceilings(serde_json::json!({
            "lifetimes": { "accessToken": "1m" }, "registrationLifetime": "1h",
            "dynamicRegistration": "Refused", "metadataDocuments": {},
        }));
        let (config, said) = capped(PolicyConfig::default(), &ceilings, false);
        assert_eq!(config.lifetimes.access_token, Duration::from_secs(60));
        assert_eq!(config.lifetimes.refresh_grace, Duration::from_secs(30));
        assert_eq!(config.registration.mode, RegistrationMode::Refused);
        assert_eq!(config.metadata_documents, Some(MetadataDocumentsConfig::default()));
        assert_eq!(said[0], "lifetimes.accessToken from 1h to 1m");
        assert_eq!(said.len(), 4, "{said:?}");
    }

    #[test]
    fn what_a_ceiling_shortens_shortens_what_must_not_outlive_it() {
        let of = |lifetimes: serde_json::Value| {
            let ceilings = ceilings(serde_json::json!({ "lifetimes": lifetimes }));
            let lifetimes = capped(PolicyConfig::default(), &ceilings, false).0.lifetimes;
            [lifetimes.sign_in, lifetimes.refresh_token, lifetimes.access_token, lifetimes.refresh_grace]
                .map(|life| life.as_secs())
        };
        assert_eq!(of(serde_json::json!({ "refreshToken": "10m" })), [8760 * 3600, 600, 600, 120]);
        assert_eq!(of(serde_json::json!({ "signIn": "3m" })), [180, 180, 180, 90]);
        assert_eq!(of(serde_json::json!({ "refreshGrace": "0s" })), [8760 * 3600, 720 * 3600, 3600, 0]);
    }

    #[test]
    fn a_ceiling_closes_documents_or_narrows_their_hosts() {
        let of = |value: serde_json::Value, given: Option<&[&str]>, on_loopback| {
            let metadata_documents = given.map(|hosts| MetadataDocumentsConfig {
                allowed_hosts: hosts.iter().map(|&h| h.to_owned()).collect(),
                ..MetadataDocumentsConfig::default()
            });
            let config = PolicyConfig { metadata_documents, ..PolicyConfig::default() };
            let (config, said) = capped(config, &ceilings(value), on_loopback);
            (config.metadata_documents, said)
        };
        let admits = |documents: &Option<MetadataDocumentsConfig>, host: &str| {
            documents.as_ref().is_none_or(|documents| documents.admits(host))
        };
        let closed = "registration.metadataDocuments.mode from Allowed to Refused";
        for value in [
            serde_json::json!({ "metadataDocuments": { "mode": "Refused" } }),
            serde_json::json!({ "dynamicRegistration": "Refused" }),
        ] {
            let (documents, said) = of(value, None, false);
            assert!(!admits(&documents, "claude.ai"));
            assert!(said.iter().any(|s| s == closed), "{said:?}");
        }
        let hosts =
            || serde_json::json!({ "metadataDocuments": { "allowedHosts": ["claude.ai", "*.example.com"] } });
        let (documents, said) = of(hosts(), None, false);
        assert!(admits(&documents, "claude.ai") && !admits(&documents, "evil.example"));
        assert_eq!(said, ["registration.metadataDocuments.allowedHosts from * to claude.ai, *.example.com"]);
        let (documents, said) = of(hosts(), Some(&["a.example.com", "claude.com"]), false);
        assert!(admits(&documents, "a.example.com") && !admits(&documents, "claude.com"));
        assert_eq!(said.len(), 1, "{said:?}");
        let (documents, said) = of(hosts(), Some(&["claude.com"]), false);
        assert!(!admits(&documents, "claude.com") && said == [closed], "{said:?}");
        assert_eq!(of(hosts(), Some(&["*.a.example.com"]), false).1.len(), 0);
        // A server on loopback offers none by itself, and a ceiling is no offer.
        assert_eq!(of(hosts(), None, true), (None, Vec::new()));
    }

    #[test]
    fn nothing_is_capped_without_ceilings() {
        let (config, said) = capped(PolicyConfig::default(), &PolicyCeilings::default(), false);
        assert_eq!((config, said.len()), (PolicyConfig::default(), 0));
    }
}
