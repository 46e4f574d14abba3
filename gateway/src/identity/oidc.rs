//! `identity.oidc`: OpenID Connect Core, authorization code with PKCE and nonce, RFC 9207.
//!
//! Signatures, issuer, audience, nonce and expiry of ID tokens are verified by the `openidconnect` crate with keys
//! that we fetch ourselves; only asymmetric algorithms are accepted.

mod claims;
mod discovery;
mod id_token;

use async_trait::async_trait;
use gatehouse_gateway_config::{OidcConfig, preset::ClientAuth};
use url::Url;

use super::{
    IdentityError, Provider, RenewError, Renewed, Setup, SignedIn, UpstreamAnswer, UpstreamRequest,
    oauth2::renew, token::TokenEndpoint, userinfo::get,
};
use crate::model::{Profile, Prompt, UpstreamTokens};

use claims::Claims;
use discovery::{Discovery, Metadata, OnRecentFailure};

/// An OpenID Connect provider.
#[derive(Debug)]
pub struct Oidc {
    config: OidcConfig,
    setup: Setup,
    discovery: Discovery,
}

impl Oidc {
    /// The provider that `config` describes. Nothing is fetched before the first sign-in.
    ///
    /// # Errors
    /// When one of its URLs is none.
    pub fn new(config: OidcConfig, setup: Setup) -> Result<Self, IdentityError> {
        let http = setup.http(config.ca.as_ref());
        let discovery = Discovery::new(&config, http, setup.clock.clone())?;
        Ok(Self { config, setup, discovery })
    }

    fn endpoint<'a>(&'a self, metadata: &'a Metadata) -> Result<TokenEndpoint<'a>, IdentityError> {
        let secret = self.config.client_secret.as_ref().map(|key| self.setup.secret(key)).transpose()?;
        Ok(TokenEndpoint {
            http: self.discovery.http(),
            clock: self.setup.clock.as_ref(),
            url: &metadata.token_endpoint,
            client_id: &self.config.client_id,
            secret,
            auth: if metadata.basic_auth { ClientAuth::Basic } else { ClientAuth::Post },
        })
    }

    /// The verified claims of an ID token. `nonce`: the one it must carry; `None`: that of a renewal, which has none.
    async fn verify(&self, token: &str, nonce: Option<&str>) -> Result<Claims, IdentityError> {
        // A token that somebody brought waits for its keys; a renewal goes without what it says.
        let after = if nonce.is_some() { OnRecentFailure::TryAgain } else { OnRecentFailure::FailFast };
        let expected = id_token::Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce,
            now: self.setup.clock.unix_millis(),
        };
        let keys = self.discovery.keys(false, after).await?;
        match id_token::verify(token, &expected, &keys) {
            // The provider may have rotated its keys since we fetched them.
            Err(id_token::Error::UnknownKey) => {
                let keys = self.discovery.keys(true, after).await?;
                id_token::verify(token, &expected, &keys)
            }
            other => other,
        }
        .map_err(|error| match error {
            // The provider signed it for a code of another sign-in.
            id_token::Error::Nonce => IdentityError::Foreign(error.to_string()),
            _ => IdentityError::Invalid(error.to_string()),
        })
    }

    /// The profile after a renewal. What its ID token leaves out although an earlier one told it is user-info's to tell,
    /// as at sign-in, before it counts as gone.
    async fn renewed(
        &self,
        token: &str,
        tokens: &UpstreamTokens,
        metadata: &Metadata,
        known: &Profile,
    ) -> Result<Profile, IdentityError> {
        let mut claims = self.verify(token, None).await?;
        if claims.leaves_out(known, &self.config) {
            claims = self.completed(claims, metadata, tokens).await?;
        }
        claims.update(known, &self.config)
    }

    /// What the ID token leaves out, user-info may tell.
    async fn completed(
        &self,
        claims: Claims,
        metadata: &Metadata,
        tokens: &UpstreamTokens,
    ) -> Result<Claims, IdentityError> {
        let complete = claims.has_all(&self.config);
        let Some(endpoint) = metadata.userinfo_endpoint.as_ref().filter(|_| !complete) else {
            return Ok(claims);
        };
        match get(self.discovery.http(), endpoint, tokens).await {
            Ok(more) => claims.complete_with(more, &self.config),
            // The ID token proves who it is; `access` decides on what is known.
            Err(IdentityError::Refused(why)) => {
                tracing::warn!(
                    why,
                    "user-info refuses the access token; only the ID token's claims are known"
                );
                Ok(claims)
            }
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Provider for Oidc {
    async fn authorization_url(&self, request: UpstreamRequest<'_>) -> Result<Url, IdentityError> {
        let metadata = self.discovery.metadata(OnRecentFailure::FailFast).await?;
        let mut url = metadata.authorization_endpoint.clone();
        let scopes = self.config.scopes.iter().map(String::as_str).filter(|s| *s != "openid");
        let scope: Vec<&str> = std::iter::once("openid").chain(scopes).collect();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.setup.redirect_uri)
            .append_pair("scope", &scope.join(" "))
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", request.challenge)
            .append_pair("code_challenge_method", "S256");
        if let Some(prompt) = request.prompt {
            let prompt = match prompt {
                Prompt::SelectAccount if metadata.select_account => "select_account",
                Prompt::SelectAccount | Prompt::Login => "login",
            };
            url.query_pairs_mut().append_pair("prompt", prompt);
        }
        Ok(url)
    }

    async fn exchange(&self, answer: UpstreamAnswer<'_>) -> Result<SignedIn, IdentityError> {
        let metadata = self.discovery.metadata(OnRecentFailure::TryAgain).await?;
        // RFC 9207: before the code goes anywhere, so that another server's code never reaches this one.
        match answer.iss {
            Some(iss) if iss != self.config.issuer => {
                return Err(IdentityError::Foreign("iss names another issuer".to_owned()));
            }
            None if metadata.sends_iss => {
                return Err(IdentityError::Foreign(
                    "iss is missing although the provider sends it".to_owned(),
                ));
            }
            _ => {}
        }
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", answer.code),
            ("redirect_uri", self.setup.redirect_uri.as_str()),
            ("code_verifier", answer.verifier),
        ];
        let granted = self.endpoint(&metadata)?.request(&grant).await?;
        let id_token = granted
            .id_token
            .ok_or_else(|| IdentityError::Invalid("the answer holds no ID token".to_owned()))?;
        let claims = self.verify(&id_token, Some(answer.nonce)).await?;
        let claims = self.completed(claims, &metadata, &granted.tokens).await?;
        Ok(SignedIn { profile: claims.profile(&self.config)?, tokens: Some(granted.tokens) })
    }

    async fn ready(&self) -> Result<(), IdentityError> {
        self.discovery.metadata(OnRecentFailure::FailFast).await.map(|_| ())
    }

    async fn profile(&self, tokens: &UpstreamTokens, known: &Profile) -> Result<Profile, IdentityError> {
        let metadata = self.discovery.metadata(OnRecentFailure::FailFast).await?;
        let Some(endpoint) = &metadata.userinfo_endpoint else {
            // Nobody to ask: a refresh token decides where there is one, else the session lasts as its token does.
            let ended = tokens.expires_at.is_some_and(|end| end <= self.setup.clock.unix_millis());
            return if tokens.refresh.is_some() {
                Err(IdentityError::NoUserInfo)
            } else if ended {
                Err(IdentityError::Refused("the token has ended".to_owned()))
            } else {
                Ok(known.clone())
            };
        };
        Claims::from_user_info(get(self.discovery.http(), endpoint, tokens).await?)?
            .update(known, &self.config)
    }

    async fn refresh(&self, tokens: &UpstreamTokens, known: &Profile) -> Result<Renewed, RenewError> {
        let metadata = self
            .discovery
            .metadata(OnRecentFailure::FailFast)
            .await
            .map_err(|e| RenewError::Transient(e.to_string()))?;
        let granted = renew(self.endpoint(&metadata), tokens).await?;
        let profile = match &granted.id_token {
            None => None,
            // The tokens are new and must be kept whatever the ID token is worth.
            Some(token) => match self.renewed(token, &granted.tokens, &metadata, known).await {
                Ok(profile) => Some(profile),
                // OIDC Core section 12.2: these are somebody else's tokens.
                Err(IdentityError::Refused(why)) => return Err(RenewError::Refused(why)),
                Err(error) => {
                    tracing::warn!(%error, "the ID token of a renewal is not believed");
                    None
                }
            },
        };
        Ok(Renewed { tokens: granted.tokens, profile })
    }
}

#[cfg(test)]
mod tests;
