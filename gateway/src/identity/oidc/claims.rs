//! From claims to a profile.

use gatehouse_gateway_config::OidcConfig;
use serde_json::{Map, Value};

use crate::{
    identity::{
        IdentityError,
        userinfo::{text, texts},
    },
    model::{ClaimSource, ClaimSources, Profile, Unknown},
};

/// Verified claims of an ID token, or of user-info.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims(pub(super) Map<String, Value>);

impl Claims {
    pub(super) fn from_user_info(value: Value) -> Result<Self, IdentityError> {
        match value {
            Value::Object(map) => Ok(Self(map)),
            _ => Err(IdentityError::Unavailable("user-info is not a JSON object".to_owned())),
        }
    }

    /// Whether nothing that a profile is made of is missing.
    pub(super) fn has_all(&self, config: &OidcConfig) -> bool {
        [&config.subject_claim, &config.name_claim, &config.email_claim, &config.groups_claim]
            .iter()
            .all(|claim| self.0.contains_key(*claim))
    }

    /// Adds what is missing from user-info, which must speak of the same subject (OIDC Core section 5.3.2).
    pub(super) fn complete_with(mut self, more: Value, config: &OidcConfig) -> Result<Self, IdentityError> {
        let more = Self::from_user_info(more)?;
        if more.0.get("sub") != self.0.get("sub") {
            return Err(IdentityError::Invalid("user-info speaks of another subject".to_owned()));
        }
        // An address and whether it is verified belong together: what user-info says of another address is not said
        // of the ID token's.
        let verified_by = config.verified_by().unwrap_or_default();
        let own = self.0.get(&config.email_claim).cloned();
        if own.is_none() {
            self.0.remove(verified_by);
        }
        let same = own.is_none() || own.as_ref() == more.0.get(&config.email_claim);
        for (claim, value) in more.0 {
            if claim != verified_by || same {
                self.0.entry(claim).or_insert(value);
            }
        }
        Ok(self)
    }

    /// What these tell, in this voice.
    pub(super) fn told(&self, config: &OidcConfig, voice: ClaimSource) -> ClaimSources {
        let told = |claim: &String| self.0.contains_key(claim).then_some(voice);
        ClaimSources { email: told(&config.email_claim), groups: told(&config.groups_claim) }
    }

    /// Whether an ID token leaves out what an earlier one told.
    pub(super) fn leaves_out(&self, known: &Profile, config: &OidcConfig) -> bool {
        let now = self.told(config, ClaimSource::IdToken);
        let left_out = |before: Option<ClaimSource>, now: Option<ClaimSource>| {
            before == Some(ClaimSource::IdToken) && now.is_none()
        };
        left_out(known.told.email, now.email) || left_out(known.told.groups, now.groups)
    }

    /// The profile at sign-in. `own`: what the ID token told of it, before user-info.
    pub(super) fn profile(&self, config: &OidcConfig, own: ClaimSources) -> Result<Profile, IdentityError> {
        let subject = self.0.get(&config.subject_claim).and_then(text).ok_or_else(|| {
            IdentityError::Invalid(format!("the claim {:?} is missing or no text", config.subject_claim))
        })?;
        let (groups, all_groups) = texts(self.0.get(&config.groups_claim));
        let verified_email = self.verified_email(config);
        Ok(Profile {
            subject,
            name: self.0.get(&config.name_claim).and_then(text),
            unknown: Unknown { email: verified_email.is_none(), groups: !all_groups },
            verified_email,
            groups,
            told: self.all_told(config, own),
            ..Profile::default()
        })
    }

    /// By what all of this was told, where `own` is the ID token's part.
    fn all_told(&self, config: &OidcConfig, own: ClaimSources) -> ClaimSources {
        let all = self.told(config, ClaimSource::UserInfo);
        ClaimSources { email: own.email.or(all.email), groups: own.groups.or(all.groups) }
    }

    /// The profile later, by what speaks in `voice`; `own` as above. What it never spoke of stays as it is known. What it
    /// told before and is silent of now is gone: providers leave an empty claim out, of whom is in no group any more.
    pub(super) fn update(
        &self,
        known: &Profile,
        config: &OidcConfig,
        voice: ClaimSource,
        own: ClaimSources,
    ) -> Result<Profile, IdentityError> {
        let subject = self.0.get(&config.subject_claim).and_then(text);
        // User-info always says `sub` (OIDC Core section 5.3.2); another claim may stand in ID tokens alone.
        let silent = subject.is_none() && config.subject_claim == "sub";
        if silent || subject.is_some_and(|subject| subject != known.subject) {
            return Err(IdentityError::Refused("the token belongs to another user now".to_owned()));
        }
        let has = |claim: &String| self.0.contains_key(claim);
        let mut profile = known.clone();
        if has(&config.name_claim) {
            profile.name = self.0.get(&config.name_claim).and_then(text);
        }
        let now = self.all_told(config, own);
        if has(&config.email_claim) || known.told.email == Some(voice) {
            profile.verified_email = self.verified_email(config);
            profile.unknown.email = profile.verified_email.is_none();
            profile.told.email = now.email;
        }
        if has(&config.groups_claim) || known.told.groups == Some(voice) {
            let (groups, all_groups) = texts(self.0.get(&config.groups_claim));
            (profile.groups, profile.unknown.groups) = (groups, !all_groups);
            profile.told.groups = now.groups;
        }
        Ok(profile)
    }

    fn verified_email(&self, config: &OidcConfig) -> Option<String> {
        // Some providers (Amazon Cognito, Apple) write the truth value as text.
        let verified = match config.verified_by().and_then(|claim| self.0.get(claim)) {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(verified)) => verified == "true",
            _ => false,
        };
        self.0.get(&config.email_claim).and_then(text).filter(|_| verified)
    }
}
