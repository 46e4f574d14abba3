//! Whom `access` lets in: by the configuration, and by what was denied since it was written.

use crate::{
    model::{
        Hash32, Profile,
        access::{self, Decision},
    },
    server::{Identity, Server},
    store::{Heard, StoreError},
};

/// By what users are judged at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What was heard of the operator's word ([`crate::store::Heard::mark`]).
    pub heard: String,
    /// A hash of all that decides besides the user's profile.
    pub hash: Hash32,
}

impl Server {
    /// What `access` says of a user, by all that this process knows.
    pub fn decide(&self, profile: &Profile) -> Decision {
        match access::decide(&self.config.access, profile) {
            Decision::Allowed => {
                access::denied(&self.denied.current().rules, profile).unwrap_or(Decision::Allowed)
            }
            refused => refused,
        }
    }

    /// Whether `access` lets a user in, by all that this process knows.
    pub fn allows(&self, profile: &Profile) -> bool {
        self.decide(profile).is_allowed()
    }

    /// As [`Server::allows`], by what the operator says now.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn allows_now(&self, profile: &Profile) -> Result<bool, StoreError> {
        self.learn_denial().await?;
        Ok(self.allows(profile))
    }

    /// Reads who was denied since the configuration was written.
    ///
    /// # Errors
    /// When the store is not available.
    pub async fn learn_denial(&self) -> Result<(), StoreError> {
        if let Some(denial) = self.store.denial().await? {
            self.denied.learn(denial);
        }
        Ok(())
    }

    /// By what users are judged for what a grant gives, or less where the client asks for the scope `narrowed`. What the
    /// store has heard is learned first, so whoever is judged after this is judged by no less.
    pub fn rules(&self, narrowed: Option<&str>) -> Rules {
        let heard = self.learn_heard();
        let (config, denied) = (&self.config, self.denied.current());
        let users = match &self.identity {
            Identity::Local(users) => users.digest(),
            Identity::Provider(_) => None,
        };
        let clients: Vec<_> =
            config.policy.clients.iter().map(|client| (&client.client_id, &client.scopes)).collect();
        let scopes = (&config.scopes, &config.policy.scopes, clients, narrowed);
        let all = (&config.access, scopes, denied.as_ref(), users);
        #[expect(clippy::expect_used, reason = "plain structs of strings and numbers")]
        let text = serde_json::to_vec(&all).expect("JSON");
        Rules { heard, hash: Hash32::of(&text) }
    }

    /// Learns what the store has heard of the operator's word; its mark.
    pub fn learn_heard(&self) -> String {
        let Heard { mark, denial } = self.store.heard();
        if let Some(denial) = denial {
            self.denied.learn(denial);
        }
        mark
    }
}
