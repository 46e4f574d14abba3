//! Looking at what clients sign. Anybody can send signatures, wrong ones or right ones for keys that they publish
//! themselves, and nothing else that a stranger may ask for costs as much: they are looked at off the threads that serve, one
//! at a time, so many of a source, and few of a network at once, so that others wait for milliseconds.
//!
//! Right ones count too: who publishes a key can send the same right one again and again.

use std::{sync::Arc, time::Duration};

use openidconnect::core::CoreJwsSigningAlgorithm;

use super::{KeySet, Mismatch};
use crate::{
    clock::Clock,
    oauth::{
        OAuthError,
        limits::{Limit, Limiter},
        source::Source,
    },
    shares::Line,
};

/// How long one waits for those before it.
const QUEUE: Duration = Duration::from_secs(5);
/// What one source may send, on each replica: with four keys that fit, a sixteenth of a core. Where no proxy is trusted it
/// is the address of many clients, each of which needs one an hour.
const SOURCE: Limit = Limit { name: "assertion", count: 600, window: Duration::from_secs(60) };
/// The same from one network.
const NETWORK: Limit = Limit { name: "assertion-network", count: 1200, window: SOURCE.window };
/// How many of one network are under way at once: those wait for each other and hold up everybody else for a fifth of a
/// second at most.
const AT_ONCE: usize = 32;

/// What a client signed, as it came.
#[derive(Debug)]
pub struct Signed {
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
    /// Where they are looked at, one by one.
    line: Line,
}

impl Proofs {
    pub(super) fn new(clock: Arc<dyn Clock>, limiter: Arc<Limiter>) -> Self {
        Self { clock, limiter, line: Line::new(1, AT_ONCE, QUEUE) }
    }

    /// Verifies what came from `source` with `keys`.
    ///
    /// # Errors
    /// When the source or its network sent too many, or there is no turn.
    pub(super) async fn verify(
        &self,
        source: &Source,
        keys: &Arc<KeySet>,
        signed: &Arc<Signed>,
    ) -> Result<Result<(), Mismatch>, OAuthError> {
        let (now, network) = (self.clock.monotonic(), source.network().to_string());
        self.limiter.count(SOURCE, &source.to_string(), now)?;
        self.limiter.count(NETWORK, &network, now)?;
        let turn = self.line.turn(network).await;
        let turn = turn.ok_or(OAuthError::Unavailable { retry_after: QUEUE })?;
        let (keys, signed) = (Arc::clone(keys), Arc::clone(signed));
        let verified = tokio::task::spawn_blocking(move || {
            // Held by the work, not by the request, which may end before it.
            let _held = turn;
            let Signed { key_id, algorithm, message, signature } = &*signed;
            keys.verify(key_id.as_deref(), algorithm, message, signature)
        })
        .await;
        Ok(verified.unwrap_or(Err(Mismatch::Signature)))
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
        async fn sends(&self, ip: &str, key_id: &str) -> Result<Mismatch, OAuthError> {
            let signed = Signed {
                key_id: Some(key_id.to_owned()),
                algorithm: CoreJwsSigningAlgorithm::EdDsa,
                message: b"m".to_vec(),
                signature: vec![0; 64],
            };
            let source = Source(Some(ip.parse().unwrap()));
            self.proofs.verify(&source, &self.keys, &Arc::new(signed)).await.map(Result::unwrap_err)
        }

        async fn is_held_back(&self, ip: &str) -> bool {
            match self.sends(ip, "k").await {
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
    async fn a_source_and_a_network_send_so_many_a_minute() {
        let world = world();
        // A key that is not there counts too: a newer set is asked for.
        let unknown = async |ip: &str| {
            for n in 0..599 {
                assert_eq!(world.sends(ip, "other").await, Ok(Mismatch::UnknownKey), "{n}");
            }
        };
        for ip in ["203.0.113.1", "203.0.113.2"] {
            unknown(ip).await;
            assert!(!world.is_held_back(ip).await);
            assert!(world.is_held_back(ip).await);
        }
        assert!(world.is_held_back("203.0.113.3").await, "of a network that sent twelve hundred");
        assert!(!world.is_held_back("198.51.100.1").await);
        world.clock.advance(SOURCE.window);
        assert!(!world.is_held_back("203.0.113.1").await);
    }

    #[tokio::test]
    async fn one_is_looked_at_at_a_time_and_a_few_of_a_network_wait() {
        let world = world();
        let turn = world.proofs.line.turn("another".to_owned()).await.unwrap();
        let mut waiting: Vec<_> = (0..AT_ONCE).map(|_| Box::pin(world.is_held_back("203.0.113.1"))).collect();
        for one in &mut waiting {
            assert!(futures::poll!(one).is_pending());
        }
        let refused = world.sends("203.0.113.2", "k").await;
        assert!(matches!(refused, Err(OAuthError::Unavailable { .. })), "{refused:?}");
        let mut other = Box::pin(world.is_held_back("198.51.100.1"));
        assert!(futures::poll!(&mut other).is_pending());
        drop(turn);
        for one in waiting {
            assert!(!one.await);
        }
        assert!(!other.await);
        assert!(!world.is_held_back("203.0.113.2").await, "their places are free again");
        assert!(world.proofs.line.is_empty());
    }
}
