//! `spec.identity`: resolved endpoints, and what the operator allows.

use gatehouse_gateway_config::{
    IdentityConfig, LocalConfig, OAuth2Config, OidcConfig, UserInfoConfig, preset::Provider,
};
use url::Url;

use super::{Checks, host};
use crate::{
    config::{IssuerPattern, endpoint},
    crd::{
        condition::Reason,
        primitive::Mode,
        server_identity::{NameValue, OAuth2Identity, OidcIdentity, ProviderPreset, UserInfo},
    },
};

/// What is asked of an OpenID provider when the spec does not say.
const DEFAULT_OIDC_SCOPES: [&str; 2] = ["profile", "email"];

/// Checks the identity; what the gateway is told of it, when nothing is wrong.
pub(super) fn check(checks: &mut Checks<'_>) -> Option<IdentityConfig> {
    let identity = checks.server.spec.identity.clone();
    match (identity.oauth2, identity.oidc, identity.local) {
        (Some(oauth2), None, None) => {
            oauth2_config(checks, oauth2).map(|c| IdentityConfig::Oauth2(Box::new(c)))
        }
        (None, Some(oidc), None) => oidc_config(checks, oidc).map(|c| IdentityConfig::Oidc(Box::new(c))),
        (None, None, Some(local)) => {
            if checks.config.identity.local == Mode::Refused {
                checks.accepted(
                    Reason::IdentityNotAllowed,
                    "spec.identity.local",
                    "local users are not allowed here (identity.local of the operator's configuration); use oidc or oauth2",
                );
                return None;
            }
            Some(IdentityConfig::Local(LocalConfig { users: local.users_secret_ref.key_ref() }))
        }
        _ => {
            checks.invalid("spec.identity", "identity needs exactly one of oauth2, oidc and local");
            None
        }
    }
}

fn oauth2_config(checks: &mut Checks<'_>, spec: OAuth2Identity) -> Option<OAuth2Config> {
    let path = "spec.identity.oauth2";
    let provider = spec.provider.map(preset);
    let (authorization_url, token_url, user_info) =
        match (provider, spec.authorization_url, spec.token_url, spec.user_info) {
            (Some(provider), None, None, None) => {
                let endpoints = provider.endpoints(spec.base_url.as_deref());
                (endpoints.authorization_url, endpoints.token_url, endpoints.user_info)
            }
            (None, Some(authorization), Some(token), Some(user_info)) => {
                (authorization, token, user_info_config(user_info))
            }
            _ => {
                checks.invalid(
                    path,
                    "oauth2 needs either provider, or all of authorizationUrl, tokenUrl and userInfo",
                );
                return None;
            }
        };
    if let Some(provider) = provider {
        preset_scopes(checks, provider, &spec.client_id, &spec.scopes);
    }
    let good = if provider.is_some() {
        // Where the other endpoints of a preset are follows from this one.
        let field = if spec.base_url.is_some() { format!("{path}.baseUrl") } else { path.to_owned() };
        provider_endpoint(checks, &field, &authorization_url)
    } else {
        provider_endpoint(checks, &format!("{path}.authorizationUrl"), &authorization_url)
            & provider_endpoint(checks, &format!("{path}.tokenUrl"), &token_url)
            & provider_endpoint(checks, &format!("{path}.userInfo.url"), &user_info.url)
    };
    let config = OAuth2Config {
        provider,
        authorization_url,
        token_url,
        user_info,
        client_id: spec.client_id,
        client_secret: spec.client_secret_ref.key_ref(),
        scopes: spec.scopes,
        extra_parameters: parameters(provider, spec.extra_parameters),
        ca: spec.tls.map(|tls| tls.ca_ref.key_ref()),
    };
    good.then_some(config)
}

fn preset(provider: ProviderPreset) -> Provider {
    match provider {
        ProviderPreset::GitHub => Provider::GitHub,
        ProviderPreset::Atlassian => Provider::Atlassian,
        ProviderPreset::Bitbucket => Provider::Bitbucket,
    }
}

/// What a preset's provider makes of the scopes, whatever `access` asks.
fn preset_scopes(checks: &mut Checks<'_>, provider: Provider, client_id: &str, scopes: &[String]) {
    let field = "spec.identity.oauth2.scopes";
    if let Some(kind) = provider.ignores_scopes(client_id).filter(|_| !scopes.is_empty()) {
        checks.warn(field, format!("\"{}\" is {kind}", client_id.escape_debug()));
    }
    let missing = |wanted: &&str| !scopes.iter().any(|s| provider.implies(s, wanted));
    let name = provider.name();
    if let Some(wanted) = provider.profile_scope().filter(missing) {
        let found = if scopes.is_empty() { "none".to_owned() } else { scopes.join(", ") };
        let message = format!(
            "the scope \"{wanted}\" is missing (found: {found}); without it {name} does not tell who signs in: add it"
        );
        checks.accepted(Reason::ScopeMissing, field, message);
    }
    if let Some(wanted) = provider.refresh_scope().filter(missing) {
        let message = format!(
            "without \"{wanted}\" {name} gives no refresh token, and users sign in again whenever their access token has \
             ended: add it"
        );
        checks.warn(field, message);
    }
}

/// The parameters that are given, after those of the preset which they do not replace.
fn parameters(provider: Option<Provider>, given: Vec<NameValue>) -> Vec<(String, String)> {
    let own = provider.map_or(&[][..], Provider::parameters).iter();
    let mut all: Vec<(String, String)> = own
        .filter(|(name, _)| !given.iter().any(|p| p.name == *name))
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    all.extend(given.into_iter().map(|p| (p.name, p.value)));
    all
}

fn user_info_config(spec: UserInfo) -> UserInfoConfig {
    UserInfoConfig {
        url: spec.url,
        subject: spec.subject,
        name: spec.name,
        email: spec.email,
        email_verified: spec.email_verified,
        groups: spec.groups,
        emails_url: None,
        teams_url: None,
    }
}

fn oidc_config(checks: &mut Checks<'_>, spec: OidcIdentity) -> Option<OidcConfig> {
    let path = "spec.identity.oidc";
    let mut good = issuer_allowed(checks, &format!("{path}.issuer"), &spec.issuer);
    // Behind a backchannel the public issuer is only compared and shown to browsers, never connected to.
    good &= match &spec.backchannel_url {
        Some(backchannel) => backchannel_allowed(checks, &format!("{path}.backchannelUrl"), backchannel),
        None => reachable(checks, &format!("{path}.issuer"), &spec.issuer),
    };
    let claims = spec.claims.unwrap_or_default();
    let named = |claim: Option<String>, default: &str| claim.unwrap_or_else(|| default.to_owned());
    let scopes = if spec.scopes.is_empty() {
        DEFAULT_OIDC_SCOPES.map(str::to_owned).to_vec()
    } else {
        spec.scopes.into_iter().filter(|scope| scope != "openid").collect()
    };
    let config = OidcConfig {
        issuer: spec.issuer,
        backchannel_url: spec.backchannel_url,
        client_id: spec.client_id,
        client_secret: spec.client_secret_ref.map(|r| r.key_ref()),
        scopes,
        subject_claim: named(claims.subject, "sub"),
        name_claim: named(claims.name, "name"),
        email_claim: named(claims.email, "email"),
        email_verified_claim: claims.email_verified,
        groups_claim: named(claims.groups, "groups"),
        ca: spec.tls.map(|tls| tls.ca_ref.key_ref()),
    };
    good.then_some(config)
}

/// An endpoint of an OAuth 2.0 provider: tokens and profiles come from each, so each must be on an allowed origin.
fn provider_endpoint(checks: &mut Checks<'_>, field: &str, text: &str) -> bool {
    let allowed = allowed(checks, text, IssuerPattern::matches_origin);
    if !allowed {
        refuse(checks, field, &format!("the origin of \"{}\" is not allowed", text.escape_debug()));
    }
    reachable(checks, field, text) && allowed
}

/// The issuer itself, by origin and path.
fn issuer_allowed(checks: &mut Checks<'_>, field: &str, issuer: &str) -> bool {
    if endpoint(issuer).is_none() {
        let message =
            format!("\"{}\" must be a URL without user name, query and fragment", issuer.escape_debug());
        checks.invalid(field, message);
        return false;
    }
    let allowed = allowed(checks, issuer, IssuerPattern::matches_issuer);
    if !allowed {
        refuse(checks, field, &format!("issuer \"{}\" is not allowed", issuer.escape_debug()));
    }
    allowed
}

/// Discovery, tokens and keys come from a backchannel: whoever answers there is the identity provider.
fn backchannel_allowed(checks: &mut Checks<'_>, field: &str, text: &str) -> bool {
    let named =
        |url: &Url| host::egress_allows(&checks.config.egress.allow, url.host_str().unwrap_or_default());
    let allowed =
        endpoint(text).is_some_and(|url| named(&url)) || allowed(checks, text, IssuerPattern::matches_origin);
    if !allowed {
        let what = format!(
            "\"{}\" is neither on an allowed origin nor on a host that egress.allow names",
            text.escape_debug()
        );
        refuse(checks, field, &what);
    }
    reachable(checks, field, text) && allowed
}

/// Whether one of `identity.allowedIssuers` matches a URL; an empty list allows all. A URL that is none is said by the
/// other checks.
fn allowed(checks: &Checks<'_>, text: &str, matches: fn(&IssuerPattern, &Url) -> bool) -> bool {
    let allowed = &checks.config.identity.allowed_issuers;
    let Some(url) = endpoint(text) else { return true };
    // What is no pattern was refused when the configuration was read.
    allowed.is_empty() || allowed.iter().filter_map(|p| IssuerPattern::parse(p)).any(|p| matches(&p, &url))
}

fn refuse(checks: &mut Checks<'_>, field: &str, what: &str) {
    let allowed = checks.config.identity.allowed_issuers.join(", ");
    let message =
        format!("{what}; allowed: {allowed} (identity.allowedIssuers of the operator's configuration)");
    checks.accepted(Reason::IdentityNotAllowed, field, message);
}

/// Whether the gateway may connect to a provider's endpoint: https anywhere; http, and Services of the cluster, only
/// where `egress.allow` names the host. Loopback is for `dev`.
fn reachable(checks: &mut Checks<'_>, field: &str, text: &str) -> bool {
    let Some(url) = endpoint(text) else {
        let message = format!(
            "\"{}\" is not a URL with a host, and without user name, query and fragment",
            text.escape_debug()
        );
        checks.invalid(field, message);
        return false;
    };
    let host = url.host_str().unwrap_or_default();
    if host::is_loopback(host) || host::egress_allows(&checks.config.egress.allow, host) {
        return true;
    }
    if url.scheme() != "https" {
        let message = format!(
            "\"{text}\" must be https; http is for loopback, and for hosts that egress.allow of the operator's \
             configuration lists: - {host}"
        );
        checks.invalid(field, message);
        return false;
    }
    if host::is_service(host) {
        let message = format!(
            "\"{text}\" names a Service of the cluster, which is refused unless egress.allow of the operator's \
             configuration lists it: - {host}"
        );
        checks.accepted(Reason::NotAllowed, field, message);
        return false;
    }
    true
}
