//! The [`Credentials`] of one server.

mod local;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use gatehouse_gateway_config::{
    AccessConfig, BackendConfig, CredentialConfig, CredentialKind, InjectConfig, KeyRef, ServerConfig,
};
use http::{HeaderName, HeaderValue};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::{
    Check, CredentialError, Credentials,
    refresh::{Refresher, SUSPECT},
    standing::{self, Standing},
};
use crate::{
    audit::Audit,
    clock::{Clock, Entropy},
    identity::local::LocalUsers,
    keys::Keys,
    model::{IdentityState, UserId, UserRecord, user::CLIENT_IDENTITY},
    refs::Refs,
    server::Identity,
    store::{CallRecord, Result as StoreResult, Store},
};

/// A backend's refusals are confirmed at most this often for a user.
const CONFIRM: Duration = Duration::from_secs(60);

/// What [`Custody`] is made of.
#[derive(Debug, Clone)]
pub struct CustodyParts {
    /// The server's configuration.
    pub config: ServerConfig,
    /// Its keys.
    pub keys: Keys,
    /// The values of referenced Secrets.
    pub refs: Arc<dyn Refs>,
    /// Its state.
    pub store: Arc<dyn Store>,
    /// Time, as for the identity, which dates the tokens.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// How users sign in.
    pub identity: Identity,
    /// What is told of their standing.
    pub audit: Audit,
    /// What must come to its end, whoever asked for it: an answer of the provider is stored.
    pub tasks: TaskTracker,
}

/// The custody of one server's upstream credentials.
pub struct Custody {
    identity: String,
    sentence: String,
    access: AccessConfig,
    credentials: Vec<CredentialConfig>,
    keys: Keys,
    refs: Arc<dyn Refs>,
    store: Arc<dyn Store>,
    entropy: Arc<dyn Entropy>,
    source: Source,
    tasks: TaskTracker,
    audit: Audit,
}

/// Where a user's own token comes from.
enum Source {
    /// The file of users, as it is now.
    Local(Arc<LocalUsers>),
    /// The tokens of the sign-in.
    Provider(Arc<Refresher>),
}

impl std::fmt::Debug for Custody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Custody").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Custody {
    /// The custody of a server.
    pub fn new(parts: CustodyParts) -> Self {
        let CustodyParts { config, keys, refs, store, clock, entropy, identity: provider, audit, tasks } =
            parts;
        let identity = config.identity.id();
        let sentence = match &provider {
            Identity::Local(_) => "Your session expired, please sign in again.".to_owned(),
            Identity::Provider(_) => {
                format!("Your {} session expired, please sign in again.", config.identity.display_name())
            }
        };
        let source = match provider {
            Identity::Local(users) => Source::Local(users),
            Identity::Provider(provider) => Source::Provider(Arc::new(Refresher {
                store: Arc::clone(&store),
                audit: audit.clone(),
                keys: keys.clone(),
                clock,
                entropy: Arc::clone(&entropy),
                provider,
                identity: identity.clone(),
                sentence: sentence.clone(),
                suspect: SUSPECT,
                tasks: tasks.clone(),
                running: std::sync::Mutex::default(),
                paused: std::sync::Mutex::default(),
            })),
        };
        let (access, credentials) = (config.access, config.credentials);
        Self { identity, sentence, access, credentials, keys, refs, store, entropy, source, tasks, audit }
    }

    /// With another patience after a take-over, for tests.
    #[cfg(test)]
    pub(super) fn with_suspect(mut self, suspect: Duration) -> Self {
        if let Source::Provider(refresher) = &mut self.source {
            Arc::get_mut(refresher).unwrap().suspect = suspect;
        }
        self
    }

    /// The user's own token, and that the user may call at all.
    async fn own_token(
        &self,
        call: &CallRecord,
        wanted: bool,
    ) -> Result<Option<Zeroizing<String>>, CredentialError> {
        let user = &call.user;
        match &self.source {
            _ if user.identity == CLIENT_IDENTITY => Ok(None),
            Source::Local(users) => self.local_token(users, user).await,
            Source::Provider(_) if user.state != IdentityState::Live => Err(self.expired()),
            Source::Provider(_) if !wanted => Ok(None),
            Source::Provider(refresher) => {
                let Some(record) = &call.credential else {
                    standing::refuse_identity(self.standing(), &user.id, 0, "credential_gone").await?;
                    return Err(self.expired());
                };
                let tokens = refresher.usable(&user.id, record).await?;
                Ok(Some(Zeroizing::new(tokens.access.clone())))
            }
        }
    }

    fn standing(&self) -> Standing<'_> {
        (&self.store, &self.audit, &self.tasks)
    }

    fn kind(&self, name: &str) -> Result<&CredentialKind, CredentialError> {
        let found = self.credentials.iter().find(|credential| credential.name == name);
        found
            .map(|credential| &credential.kind)
            .ok_or_else(|| CredentialError::Misconfigured(format!("no credential is named \"{name}\"")))
    }

    fn shared(&self, key: &KeyRef) -> Result<Zeroizing<String>, CredentialError> {
        let value = self.refs.get(key);
        let text = value.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        // A line break at the end is an editor's.
        let text = text.map(|text| text.trim_end_matches(['\r', '\n'])).filter(|text| !text.is_empty());
        text.map(|text| Zeroizing::new(text.to_owned()))
            .ok_or_else(|| CredentialError::Misconfigured(format!("{key} does not exist or is empty")))
    }

    fn expired(&self) -> CredentialError {
        CredentialError::SessionExpired(self.sentence.clone())
    }

    async fn confirm_now(&self, user: &UserId) -> StoreResult<Check> {
        let Some(record) = self.store.user(user).await? else { return Ok(Check::Tolerated) };
        if record.state != IdentityState::Live {
            return Ok(Check::Dead(self.sentence.clone()));
        }
        let (hits, _) = self.store.hit(&format!("confirm:{user}"), CONFIRM).await?;
        if hits > 1 {
            return Ok(Check::Tolerated);
        }
        Ok(self.recheck(&record).await)
    }
}

#[async_trait]
impl Credentials for Custody {
    async fn headers(
        &self,
        call: &CallRecord,
        backend: &BackendConfig,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, CredentialError> {
        let mut kinds = Vec::with_capacity(backend.inject.len());
        for inject in &backend.inject {
            kinds.push((inject, self.kind(&inject.credential)?));
        }
        let wanted = kinds.iter().any(|(_, kind)| **kind == CredentialKind::FromIdentity);
        let own = self.own_token(call, wanted).await?;
        let mut headers = Vec::with_capacity(kinds.len());
        for (inject, kind) in kinds {
            let value = match kind {
                CredentialKind::Static(key) => self.shared(key)?,
                CredentialKind::FromIdentity => own.clone().ok_or_else(|| {
                    CredentialError::Misconfigured(format!(
                        "the caller has no token of their own for credential \"{}\"",
                        inject.credential
                    ))
                })?,
            };
            headers.push(header(inject, &value)?);
        }
        Ok(headers)
    }

    async fn recheck(&self, user: &UserRecord) -> Check {
        if user.identity == CLIENT_IDENTITY {
            // The policy vouches for it, and is asked on each call.
            return Check::Live;
        }
        if user.state != IdentityState::Live && matches!(self.source, Source::Provider(_)) {
            return Check::Dead(self.sentence.clone());
        }
        match &self.source {
            Source::Local(users) => self.check_local(users, user).await,
            Source::Provider(refresher) => refresher.check(user, self.access.recheck_tolerate).await,
        }
    }

    async fn confirm(&self, user: &UserId) -> Check {
        // A store that is away confirms nothing: the backend's answer stays a tool error.
        match self.confirm_now(user).await {
            Ok(Check::Unavailable) | Err(_) => Check::Tolerated,
            Ok(check) => check,
        }
    }

    fn expired_sentence(&self) -> String {
        self.sentence.clone()
    }
}

/// One header of a call.
fn header(inject: &InjectConfig, token: &str) -> Result<(HeaderName, HeaderValue), CredentialError> {
    let wrong = |what| CredentialError::Misconfigured(format!("inject: header \"{}\" {what}", inject.header));
    let name = HeaderName::try_from(inject.header.as_str()).map_err(|_| wrong("is no header name"))?;
    let text = Zeroizing::new(inject.format.replacen("{token}", token, 1));
    let mut value =
        HeaderValue::try_from(text.as_str()).map_err(|_| wrong("would hold what no header may hold"))?;
    value.set_sensitive(true);
    Ok((name, value))
}
