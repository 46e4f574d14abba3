//! Looking at what clients sign. Anybody can send a signature that is wrong, for keys that they publish themselves, and
//! nothing else that a stranger may ask for costs as much: it is done off the threads that serve, one at a time, and
//! whoever sent a few wrong ones waits.
//!
//! Each is counted before it is looked at, and given back when it was right: many at once do not pass together.

use std::{sync::Arc, time::Duration};

use openidconnect::core::CoreJwsSigningAlgorithm;
use tokio::sync::Semaphore;

use super::{KeySet, Mismatch};
use crate::{
    clock::Clock,
    model::Hash32,
    oauth::{
        OAuthError,
        limits::{Limit, Limiter},
        source::Source,
    },
};

/// How long one waits for those before it.
const QUEUE: Duration = Duration::from_secs(5);
/// What one source may send that proves nothing. On each replica, like all of these.
const FAILED: Limit = Limit { name: "assertion", count: 30, window: Duration::from_secs(60) };
/// The same from one network.
const FAILED_NETWORK: Limit = Limit { name: "assertion-network", count: 60, window: FAILED.window };
/// The same in the name of one client, from everywhere.
const FAILED_CLIENT: Limit = Limit { name: "assertion-client", count: 300, window: FAILED.window };
/// The same from one network once those are used up: nobody locks a client out from elsewhere.
const FAILED_CLIENT_BEYOND: Limit =
    Limit { name: "assertion-client-beyond", count: 10, window: FAILED.window };

/// What a client signed, as it came.
#[derive(Debug)]
pub struct Signed {
    /// In whose name.
    pub client_id: String,
    /// The key that it names.
    pub key_id: Option<String>,
    /// How it is signed.
    pub algorithm: CoreJwsSigningAlgorithm,
    /// What is signed.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Where signatures are looked at.
#[derive(Debug)]
pub(super) struct Proofs {
    clock: Arc<dyn Clock>,
    limiter: Arc<Limiter>,
    one_at_a_time: Arc<Semaphore>,
}

impl Proofs {
    pub(super) fn new(clock: Arc<dyn Clock>, limiter: Arc<Limiter>) -> Self {
        Self { clock, limiter, one_at_a_time: Arc::new(Semaphore::new(1)) }
    }

    /// Verifies what came from `source` with `keys`.
    ///
    /// # Errors
    /// When there were too many that proved nothing, or there is no turn.
    pub(super) async fn verify(
        &self,
        source: &Source,
        keys: &Arc<KeySet>,
        signed: &Arc<Signed>,
    ) -> Result<Result<(), Mismatch>, OAuthError> {
        let turn = tokio::time::timeout(QUEUE, self.one_at_a_time.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(OAuthError::Unavailable { retry_after: QUEUE }) };
        // Now that it is its turn: else those that wait, and will prove something, would count as if they had not.
        let counted = self.count(source, &signed.client_id)?;
        let (keys, signed) = (Arc::clone(keys), Arc::clone(signed));
        let verified = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the request, which may end before it.
            let _turn = turn;
            let Signed { key_id, algorithm, message, signature, .. } = &*signed;
            keys.verify(key_id.as_deref(), algorithm, message, signature)
        })
        .await;
        let verified = verified.unwrap_or(Err(Mismatch::Signature));
        if verified.is_ok() {
            self.refund(counted);
        }
        Ok(verified)
    }

    fn count(&self, source: &Source, client_id: &str) -> Result<Vec<(Limit, String)>, OAuthError> {
        let (now, network) = (self.clock.monotonic(), source.network().to_string());
        // Hashed: an id may be long.
        let client = Hash32::of(client_id.as_bytes()).to_string();
        let mut counted = Vec::new();
        let mut take = |limit, of: String| -> Result<(), OAuthError> {
            self.limiter.count(limit, &of, now)?;
            counted.push((limit, of));
            Ok(())
        };
        let taken = take(FAILED, source.to_string())
            .and_then(|()| take(FAILED_NETWORK, network.clone()))
            .and_then(|()| {
                take(FAILED_CLIENT, client.clone())
                    .or_else(|_| take(FAILED_CLIENT_BEYOND, format!("{network} {client}")))
            });
        match taken {
            Ok(()) => Ok(counted),
            Err(error) => {
                // What is not looked at is no failure.
                self.refund(counted);
                Err(error)
            }
        }
    }

    fn refund(&self, counted: Vec<(Limit, String)>) {
        for (limit, of) in counted {
            self.limiter.refund(limit, &of);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::ManualClock;

    /// A world of one key set, which nobody's signature fits.
    struct World {
        clock: Arc<ManualClock>,
        proofs: Proofs,
        keys: Arc<KeySet>,
    }

    fn world() -> World {
        let clock = Arc::new(ManualClock::at(1_700_000_000));
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let keys = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]}).to_string();
        let keys = Arc::new(KeySet::read(keys.as_bytes()).unwrap());
        World { proofs: Proofs::new(clock.clone(), Arc::default()), clock, keys }
    }

    impl World {
        async fn sends(&self, ip: &str, client_id: &str, key_id: &str) -> Result<Mismatch, OAuthError> {
            let signed = Signed {
                client_id: client_id.to_owned(),
                key_id: Some(key_id.to_owned()),
                algorithm: CoreJwsSigningAlgorithm::EdDsa,
                message: b"m".to_vec(),
                signature: vec![0; 64],
            };
            let source = Source(Some(ip.parse().unwrap()));
            self.proofs.verify(&source, &self.keys, &Arc::new(signed)).await.map(Result::unwrap_err)
        }

        async fn is_held_back(&self, ip: &str, client_id: &str) -> bool {
            match self.sends(ip, client_id, "k").await {
                Ok(mismatch) => {
                    assert_eq!(mismatch, Mismatch::Signature);
                    false
                }
                Err(OAuthError::TooManyRequests { .. }) => true,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_source_and_a_network_send_a_few_that_prove_nothing() {
        let world = world();
        for n in 0..40 {
            assert_eq!(world.is_held_back("203.0.113.1", &format!("c{n}")).await, n >= 30, "{n}");
        }
        for n in 0..40 {
            assert_eq!(
                world.is_held_back("203.0.113.2", "c").await,
                n >= 30,
                "what was refused is no failure"
            );
        }
        assert!(world.is_held_back("203.0.113.3", "c").await, "of a network that sent sixty");
        assert!(!world.is_held_back("198.51.100.1", "c").await);
        world.clock.advance(FAILED.window);
        assert!(!world.is_held_back("203.0.113.1", "c").await);
        // A key that is not there counts too: a newer set is asked for.
        for _ in 0..29 {
            assert_eq!(world.sends("203.0.113.1", "c", "other").await, Ok(Mismatch::UnknownKey));
        }
        assert!(world.is_held_back("203.0.113.1", "c").await);
    }

    #[tokio::test]
    async fn nobody_locks_a_client_out_from_elsewhere() {
        let world = world();
        for n in 0..300 {
            let ip = format!("10.{}.{}.1", n / 250, n % 250);
            assert!(!world.is_held_back(&ip, "c").await, "{n}");
        }
        for n in 0..20 {
            assert_eq!(world.is_held_back("203.0.113.1", "c").await, n >= 10, "{n}");
        }
        assert!(!world.is_held_back("198.51.100.1", "c").await);
        assert!(!world.is_held_back("203.0.113.1", "another").await);
    }

    #[tokio::test]
    async fn one_is_looked_at_at_a_time() {
        let world = world();
        let turn = world.proofs.one_at_a_time.clone().try_acquire_owned().unwrap();
        let mut second = Box::pin(world.is_held_back("203.0.113.1", "c"));
        assert!(futures::poll!(&mut second).is_pending());
        drop(turn);
        assert!(!second.await);
    }
}
