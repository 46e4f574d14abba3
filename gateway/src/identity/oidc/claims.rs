//! From claims to a profile.

use std::collections::BTreeSet;

use gatehouse_gateway_config::OidcConfig;
use serde_json::{Map, Value};

use crate::{
    identity::{
        IdentityError,
        userinfo::{text, texts},
    },
    model::{ClaimSource, ClaimSources, Profile, Unknown},
};

/// Verified claims of an ID token, which user-info may have completed, or of user-info.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    values: Map<String, Value>,
    /// Who speaks.
    source: ClaimSource,
    /// What user-info added to an ID token.
    added: BTreeSet<String>,
}

impl Claims {
    pub(super) fn of_id_token(values: Map<String, Value>) -> Self {
        Self { values, source: ClaimSource::IdToken, added: BTreeSet::new() }
    }

    pub(super) fn from_user_info(value: Value) -> Result<Self, IdentityError> {
        match value {
            Value::Object(values) => {
                Ok(Self { values, source: ClaimSource::UserInfo, added: BTreeSet::new() })
            }
            _ => Err(IdentityError::Unavailable("user-info is not a JSON object".to_owned())),
        }
    }

    /// Whether nothing that a profile is made of is missing.
    pub(super) fn has_all(&self, config: &OidcConfig) -> bool {
        [&config.subject_claim, &config.name_claim, &config.email_claim, &config.groups_claim]
            .iter()
            .all(|claim| self.values.contains_key(*claim))
    }

    /// Adds what is missing from user-info, which must speak of the same subject (OIDC Core section 5.3.2).
    pub(super) fn complete_with(mut self, more: Value, config: &OidcConfig) -> Result<Self, IdentityError> {
        let more = Self::from_user_info(more)?;
        if more.values.get("sub") != self.values.get("sub") {
            return Err(IdentityError::Invalid("user-info speaks of another subject".to_owned()));
        }
        // An address and whether it is verified belong together: what user-info says of another address is not said
        // of the ID token's.
        let verified_by = config.verified_by().unwrap_or_default();
        let own = self.values.get(&config.email_claim).cloned();
        if own.is_none() {
            self.values.remove(verified_by);
        }
        let same = own.is_none() || own.as_ref() == more.values.get(&config.email_claim);
        for (claim, value) in more.values {
            if (claim != verified_by || same) && !self.values.contains_key(&claim) {
                self.added.insert(claim.clone());
                self.values.insert(claim, value);
            }
        }
        Ok(self)
    }

    /// By what a claim is told, if it is.
    fn told_by(&self, claim: &str) -> Option<ClaimSource> {
        let source = if self.added.contains(claim) { ClaimSource::UserInfo } else { self.source };
        self.values.contains_key(claim).then_some(source)
    }

    /// By what each part of a profile is told.
    fn told(&self, config: &OidcConfig) -> ClaimSources {
        ClaimSources { email: self.told_by(&config.email_claim), groups: self.told_by(&config.groups_claim) }
    }

    /// Whether who speaks leaves out what it told before.
    pub(super) fn leaves_out(&self, known: &Profile, config: &OidcConfig) -> bool {
        let now = self.told(config);
        let left_out = |before: Option<ClaimSource>, now: Option<ClaimSource>| {
            before == Some(self.source) && now.is_none()
        };
        left_out(known.told.email, now.email) || left_out(known.told.groups, now.groups)
    }

    /// The profile at sign-in.
    pub(super) fn profile(&self, config: &OidcConfig) -> Result<Profile, IdentityError> {
        let subject = self.values.get(&config.subject_claim).and_then(text).ok_or_else(|| {
            IdentityError::Invalid(format!("the claim {:?} is missing or no text", config.subject_claim))
        })?;
        let (groups, all_groups) = texts(self.values.get(&config.groups_claim));
        let verified_email = self.verified_email(config);
        Ok(Profile {
            subject,
            name: self.values.get(&config.name_claim).and_then(text),
            unknown: Unknown { email: verified_email.is_none(), groups: !all_groups },
            verified_email,
            groups,
            told: self.told(config),
            ..Profile::default()
        })
    }

    /// The profile later. What who speaks never spoke of stays as it is known; what it told before and is silent of now is
    /// gone: providers leave an empty claim out, of whom is in no group any more.
    pub(super) fn update(&self, known: &Profile, config: &OidcConfig) -> Result<Profile, IdentityError> {
        let subject = self.values.get(&config.subject_claim).and_then(text);
        // User-info always says `sub` (OIDC Core section 5.3.2); another claim may stand in ID tokens alone.
        let silent = subject.is_none() && config.subject_claim == "sub";
        if silent || subject.is_some_and(|subject| subject != known.subject) {
            return Err(IdentityError::Refused("the token belongs to another user now".to_owned()));
        }
        let mut profile = known.clone();
        if let Some(name) = self.values.get(&config.name_claim) {
            profile.name = text(name);
        }
        let (now, speaks) = (self.told(config), Some(self.source));
        if now.email.is_some() || known.told.email == speaks {
            profile.verified_email = self.verified_email(config);
            profile.unknown.email = profile.verified_email.is_none();
            profile.told.email = now.email;
        }
        if now.groups.is_some() || known.told.groups == speaks {
            let (groups, all_groups) = texts(self.values.get(&config.groups_claim));
            (profile.groups, profile.unknown.groups) = (groups, !all_groups);
            profile.told.groups = now.groups;
        }
        Ok(profile)
    }

    fn verified_email(&self, config: &OidcConfig) -> Option<String> {
        // Some providers (Amazon Cognito, Apple) write the truth value as text.
        let verified = match config.verified_by().and_then(|claim| self.values.get(claim)) {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(verified)) => verified == "true",
            _ => false,
        };
        self.values.get(&config.email_claim).and_then(text).filter(|_| verified)
    }
}
