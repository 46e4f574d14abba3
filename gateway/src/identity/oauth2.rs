//! `identity.oauth2`: an OAuth 2.0 provider without OpenID Connect. What a preset such as GitHub needs is data:
//! endpoints and JSON pointers in the configuration, the rest with the preset.

use async_trait::async_trait;
use gatehouse_gateway_config::{
    OAuth2Config,
    preset::{ClientAuth, EmailList, GroupList, Lists, Provider as Preset},
};
use serde_json::Value;
use url::Url;

use super::{
    IdentityError, Provider, RenewError, Renewed, Setup, SignedIn, UpstreamAnswer, UpstreamRequest,
    connect::url,
    token::TokenEndpoint,
    userinfo::{Reading, get, list, text, texts},
};
use crate::{
    egress::HttpClient,
    model::{Profile, Prompt, Unknown, UpstreamTokens},
};

/// An OAuth 2.0 provider.
#[derive(Debug)]
pub struct OAuth2 {
    config: OAuth2Config,
    setup: Setup,
    http: HttpClient,
    authorization_url: Url,
    token_url: Url,
    user_info: Url,
    emails: Option<Url>,
    teams: Option<Url>,
}

impl OAuth2 {
    /// The provider that `config` describes.
    ///
    /// # Errors
    /// When one of its URLs is none.
    pub fn new(config: OAuth2Config, setup: Setup) -> Result<Self, IdentityError> {
        let optional = |field, text: &Option<String>| text.as_deref().map(|t| url(field, t)).transpose();
        Ok(Self {
            http: setup.http(config.ca.as_ref()),
            authorization_url: url("authorizationUrl", &config.authorization_url)?,
            token_url: url("tokenUrl", &config.token_url)?,
            user_info: url("userInfo.url", &config.user_info.url)?,
            emails: optional("userInfo.emailsUrl", &config.user_info.emails_url)?,
            teams: optional("userInfo.teamsUrl", &config.user_info.teams_url)?,
            config,
            setup,
        })
    }

    /// With another time limit, for tests.
    #[cfg(test)]
    pub(crate) fn with_timeout(mut self, total: std::time::Duration) -> Self {
        self.http = self.http.with_timeout(total);
        self
    }

    fn endpoint(&self) -> Result<TokenEndpoint<'_>, IdentityError> {
        Ok(TokenEndpoint {
            http: &self.http,
            clock: self.setup.clock.as_ref(),
            url: &self.token_url,
            client_id: &self.config.client_id,
            secret: Some(self.setup.secret(&self.config.client_secret)?),
            // Providers without OpenID Connect rarely know anything but the body.
            auth: self.config.provider.map_or(ClientAuth::Post, Preset::client_auth),
        })
    }

    async fn learn(&self, tokens: &UpstreamTokens) -> Result<Profile, IdentityError> {
        let info = &self.config.user_info;
        let document = get(&self.http, &self.user_info, tokens).await?;
        let at = |pointer: &Option<String>| pointer.as_deref().and_then(|p| document.pointer(p));
        let subject = document.pointer(&info.subject).and_then(text).ok_or_else(|| {
            IdentityError::Invalid(format!("the profile has no text or whole number at {}", info.subject))
        })?;
        let verified = at(&info.email_verified) == Some(&Value::Bool(true));
        let verified_email = at(&info.email).and_then(text).filter(|_| verified);
        let (groups, all_groups) = texts(at(&info.groups));
        let mut profile = Profile {
            subject,
            name: at(&info.name).and_then(text),
            unknown: Unknown { email: verified_email.is_none(), groups: !all_groups },
            verified_email,
            groups,
            ..Profile::default()
        };
        if let Some((preset, lists)) = self.config.provider.and_then(|p| Some((p, p.lists()?))) {
            self.learn_lists((preset, lists), tokens, &mut profile).await?;
        }
        Ok(profile)
    }

    /// Adds what `preset` keeps in lists beside the profile.
    async fn learn_lists(
        &self,
        (preset, lists): (Preset, Lists),
        tokens: &UpstreamTokens,
        profile: &mut Profile,
    ) -> Result<(), IdentityError> {
        let reading = |scope| Reading { preset, pages: lists.pages, scope };
        if let Some(url) = &self.emails {
            let told = list(&self.http, url, tokens, reading(lists.emails.scope)).await?;
            profile.verified_email = told.items.iter().find_map(|e| verified_primary(e, lists.emails));
            profile.other_emails =
                told.items.iter().filter_map(|e| verified_address(e, lists.emails)).collect();
            profile.other_emails.retain(|other| profile.verified_email.as_ref() != Some(other));
            profile.unknown.email = !told.complete;
        }
        if let Some(url) = &self.teams {
            let told = list(&self.http, url, tokens, reading(lists.groups.scope)).await?;
            profile.groups.extend(told.items.iter().flat_map(|e| groups(e, lists.groups)));
            profile.groups.sort_unstable();
            profile.groups.dedup();
            profile.unknown.groups = !told.complete;
        }
        Ok(())
    }

    /// The value of `prompt` for what is asked: its name, or where the provider knows another value, that one.
    fn prompt(&self, asked: Prompt) -> Option<&'static str> {
        let known = self.config.provider.map_or(&["login", "select_account"][..], Preset::prompts);
        let wanted = match asked {
            Prompt::Login => "login",
            Prompt::SelectAccount => "select_account",
        };
        known.iter().find(|value| **value == wanted).or(known.last()).copied()
    }
}

#[async_trait]
impl Provider for OAuth2 {
    async fn authorization_url(&self, request: UpstreamRequest<'_>) -> Result<Url, IdentityError> {
        let mut url = self.authorization_url.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.setup.redirect_uri)
            .append_pair("state", request.state)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        if !self.config.scopes.is_empty() {
            query.append_pair("scope", &self.config.scopes.join(" "));
        }
        // What is asked for now takes the place of what is configured: a parameter comes once (RFC 6749 section 3.1).
        let prompt = request.prompt.and_then(|asked| self.prompt(asked));
        query.extend_pairs(prompt.map(|value| ("prompt", value)));
        let configured = self.config.extra_parameters.iter();
        query.extend_pairs(configured.filter(|(name, _)| prompt.is_none() || name != "prompt"));
        drop(query);
        Ok(url)
    }

    async fn exchange(&self, answer: UpstreamAnswer<'_>) -> Result<SignedIn, IdentityError> {
        // RFC 9207, before the code goes anywhere. No document says this provider's issuer, but it is one of its origin.
        let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin());
        if answer.iss.is_some_and(|iss| origin(iss) != Some(self.authorization_url.origin())) {
            return Err(IdentityError::Foreign("iss names another issuer".to_owned()));
        }
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", answer.code),
            ("redirect_uri", self.setup.redirect_uri.as_str()),
            ("code_verifier", answer.verifier),
        ];
        let tokens = self.endpoint()?.request(&grant).await?.tokens;
        let profile = self.learn(&tokens).await?;
        Ok(SignedIn { profile, tokens: Some(tokens) })
    }

    async fn profile(&self, tokens: &UpstreamTokens, known: &Profile) -> Result<Profile, IdentityError> {
        let profile = self.learn(tokens).await?;
        if profile.subject == known.subject {
            Ok(profile)
        } else {
            Err(IdentityError::Refused("the token belongs to another user now".to_owned()))
        }
    }

    async fn refresh(&self, tokens: &UpstreamTokens, _: &Profile) -> Result<Renewed, RenewError> {
        renew(self.endpoint(), tokens).await.map(|granted| Renewed { tokens: granted.tokens, profile: None })
    }
}

/// Renews tokens of this client; a refresh token that is not given again stays (RFC 6749 section 6).
pub(super) async fn renew(
    endpoint: Result<TokenEndpoint<'_>, IdentityError>,
    tokens: &UpstreamTokens,
) -> Result<super::token::Granted, RenewError> {
    let endpoint = endpoint.map_err(|e| RenewError::Misconfigured(e.to_string()))?;
    if endpoint.client_id != tokens.client_id {
        return Err(RenewError::Refused("the tokens belong to another client id".to_owned()));
    }
    let refresh =
        tokens.refresh.as_deref().ok_or_else(|| RenewError::Refused("no refresh token".to_owned()))?;
    let mut granted =
        endpoint.request(&[("grant_type", "refresh_token"), ("refresh_token", refresh)]).await?;
    if granted.tokens.refresh.is_none() {
        granted.tokens.refresh.clone_from(&tokens.refresh);
    }
    Ok(granted)
}

/// The primary address of a list, when it is verified.
fn verified_primary(entry: &Value, list: EmailList) -> Option<String> {
    verified_address(entry, list).filter(|_| says(entry, list.primary))
}

/// An address of a list, when it is verified.
fn verified_address(entry: &Value, list: EmailList) -> Option<String> {
    says(entry, list.verified).then(|| entry.get("email").and_then(text)).flatten()
}

fn says(entry: &Value, field: &str) -> bool {
    entry.get(field) == Some(&Value::Bool(true))
}

/// The groups of an entry whose every part is there.
fn groups(entry: &Value, list: GroupList) -> impl Iterator<Item = String> {
    list.names.iter().filter_map(|parts| {
        let found: Option<Vec<String>> = parts.iter().map(|p| entry.pointer(p).and_then(text)).collect();
        found.map(|parts| parts.join("/"))
    })
}

#[cfg(test)]
mod tests;
