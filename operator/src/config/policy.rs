//! `policy` of the operator's configuration.

use serde::{Deserialize, Serialize};

use crate::crd::{
    policy::{Lifetimes, MetadataDocuments, PolicyScopes, RedirectUris, Registration},
    primitive::{GepDuration, Mode},
};

/// OAuth client policies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicySettings {
    /// What holds for a server that no policy targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<PolicyTerms>,
    /// Whether a server that no policy targets is refused.
    pub required: bool,
    /// What no policy exceeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceilings: Option<PolicyCeilings>,
}

/// The terms of a policy, without targets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyTerms {
    /// How clients become known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<Registration>,
    /// Where codes may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect_uris: Option<RedirectUris>,
    /// Which scopes clients may be granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<PolicyScopes>,
    /// How long things live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetimes: Option<Lifetimes>,
}

/// What no policy exceeds. What is absent has no ceiling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyCeilings {
    /// The longest lifetimes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetimes: Option<LifetimeCeilings>,
    /// The longest life of a dynamic registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_lifetime: Option<GepDuration>,
    /// `Refused`: no policy allows it. Without `metadata_documents` this closes documents too: they are another way for
    /// clients to come that nobody named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_registration: Option<Mode>,
    /// The most that any policy admits of Client ID Metadata Documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata_documents: Option<MetadataDocuments>,
}

/// The longest lifetimes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LifetimeCeilings {
    /// Of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token: Option<GepDuration>,
    /// Of a refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<GepDuration>,
    /// Of the refresh grace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_grace: Option<GepDuration>,
    /// Of a sign-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<GepDuration>,
}
