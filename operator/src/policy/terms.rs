//! From the terms of a policy to what the gateway is told, below the operator's ceilings.

use std::time::Duration;

use gatehouse_gateway_config::{
    LifetimesConfig, PolicyConfig, RegistrationMode, duration,
    policy::{MetadataDocumentsConfig, RedirectUrisConfig, RegistrationConfig},
};

use crate::{
    config::{PolicyCeilings, PolicyTerms},
    crd::{OAuthClientPolicySpec, policy::Lifetimes, primitive::Mode},
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
    let documents = terms.registration.as_ref().and_then(|r| r.metadata_documents.as_ref());
    let metadata_documents = documents
        .map(|d| MetadataDocumentsConfig { mode: mode(d.mode), allowed_hosts: d.allowed_hosts.clone() });
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

/// The terms below the ceilings, and what was lowered, in words.
pub fn capped(mut config: PolicyConfig, ceilings: &PolicyCeilings) -> (PolicyConfig, Vec<String>) {
    let mut said = Vec::new();
    let mut lower = |name: &str, value: &mut Duration, ceiling: Option<Duration>| {
        if let Some(ceiling) = ceiling.filter(|c| *value > *c) {
            said.push(format!("{name} from {} to {}", duration::format(*value), duration::format(ceiling)));
            *value = ceiling;
        }
    };
    let tops = ceilings.lifetimes.clone().unwrap_or_default();
    let lifetimes = &mut config.lifetimes;
    lower("lifetimes.accessToken", &mut lifetimes.access_token, tops.access_token.map(|d| d.0));
    lower("lifetimes.refreshToken", &mut lifetimes.refresh_token, tops.refresh_token.map(|d| d.0));
    lower("lifetimes.signIn", &mut lifetimes.sign_in, tops.sign_in.map(|d| d.0));
    // An access token must outlive the grace twice, also when a ceiling has just shortened it.
    let half = lifetimes.access_token / 2;
    let grace = tops.refresh_grace.map_or(half, |d| d.0.min(half));
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
    (config, said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::LifetimeCeilings, crd::primitive::GepDuration};

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

    #[test]
    fn ceilings_lower_and_say_so() {
        let ceilings = PolicyCeilings {
            lifetimes: Some(LifetimeCeilings {
                access_token: Some(GepDuration::from_secs(60)),
                ..Default::default()
            }),
            registration_lifetime: Some(GepDuration::from_secs(3600)),
            dynamic_registration: Some(Mode::Refused),
        };
        let (config, said) = capped(PolicyConfig::default(), &ceilings);
        assert_eq!(config.lifetimes.access_token, Duration::from_secs(60));
        assert_eq!(config.lifetimes.refresh_grace, Duration::from_secs(30));
        assert_eq!(config.registration.mode, RegistrationMode::Refused);
        assert_eq!(said[0], "lifetimes.accessToken from 1h to 1m");
        assert_eq!(said.len(), 4, "{said:?}");
    }

    #[test]
    fn nothing_is_capped_without_ceilings() {
        let (config, said) = capped(PolicyConfig::default(), &PolicyCeilings::default());
        assert_eq!((config, said.len()), (PolicyConfig::default(), 0));
    }
}
