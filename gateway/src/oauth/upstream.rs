//! What we send to the identity provider: `state`, PKCE verifier and nonce, all derived from the flow and the attempt,
//! so that repeating an approval gives the same redirect, on any replica, and nothing is stored.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    keys::{Keys, Mac16, Ring},
    model::{FlowId, pkce},
};

const STATE: &str = "upstream-state";
const VERIFIER: &str = "upstream-verifier";
const NONCE: &str = "upstream-nonce";

/// One attempt at the identity provider.
#[derive(Clone)]
pub struct Attempt {
    /// The flow.
    pub flow: FlowId,
    /// Which attempt: 1 for the first.
    pub number: u32,
    /// `state`: `b64url(kid 1 ‖ flow 16 ‖ number 4 ‖ HMAC 16)`.
    pub state: String,
    /// The PKCE verifier.
    pub verifier: String,
    /// The OIDC nonce.
    pub nonce: String,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempt")
            .field("flow", &self.flow)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    /// Derives an attempt under the key that seals now.
    pub fn derive(keys: &Keys, flow: FlowId, number: u32) -> Option<Self> {
        let mac = keys.mac16(Ring::Session, STATE, &[flow.as_bytes(), &number.to_be_bytes()]);
        Self::under(keys, flow, number, &mac)
    }

    /// Reads a `state` that came back; `None` when it is not one of ours.
    pub fn open(keys: &Keys, state: &str) -> Option<Self> {
        let bytes = <[u8; 37]>::try_from(URL_SAFE_NO_PAD.decode(state).ok()?).ok()?;
        let (mut flow, mut number, mut tag) = ([0; 16], [0; 4], [0; 16]);
        flow.copy_from_slice(&bytes[1..17]);
        number.copy_from_slice(&bytes[17..21]);
        tag.copy_from_slice(&bytes[21..]);
        let mac = Mac16 { kid: bytes[0], tag };
        if !keys.verify16(Ring::Session, STATE, &[&flow, &number], &mac) {
            return None;
        }
        Self::under(keys, FlowId::from_bytes(flow), u32::from_be_bytes(number), &mac)
    }

    /// The PKCE challenge.
    pub fn challenge(&self) -> String {
        pkce::s256(&self.verifier)
    }

    fn under(keys: &Keys, flow: FlowId, number: u32, mac: &Mac16) -> Option<Self> {
        let place: [&[u8]; 2] = [flow.as_bytes(), &number.to_be_bytes()];
        let derive = |label| {
            keys.mac_with(Ring::Session, mac.kid, label, &place).map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
        };
        let mut state = vec![mac.kid];
        for part in place.iter().chain([&&mac.tag[..]]) {
            state.extend_from_slice(part);
        }
        let state = URL_SAFE_NO_PAD.encode(state);
        Some(Self { flow, number, state, verifier: derive(VERIFIER)?, nonce: derive(NONCE)? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatehouse_gateway_config::keys::{KeyBytes, Keyring, RingKey};
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn an_attempt_opens_under_the_key_it_was_derived_with() {
        let mut ring = Keyring::generate(&mut StdRng::seed_from_u64(1));
        let keys = Keys::new(ring.clone(), Arc::new(ManualClock::at(0)));
        let flow = FlowId::from_bytes([7; 16]);
        let first = Attempt::derive(&keys, flow, 1).unwrap();
        assert_eq!(first.state, Attempt::derive(&keys, flow, 1).unwrap().state);
        assert_ne!(first.verifier, Attempt::derive(&keys, flow, 2).unwrap().verifier);
        assert!(pkce::challenge_of(&first.verifier).is_some() && first.verifier != first.nonce);
        let key = KeyBytes::generate(&mut StdRng::seed_from_u64(2));
        ring.session.push(RingKey { id: 2, key, seal_from: 0 });
        assert!(keys.replace(ring));
        let opened = Attempt::open(&keys, &first.state).unwrap();
        assert_eq!((opened.flow, opened.number, opened.verifier), (flow, 1, first.verifier));
    }

    #[test]
    fn a_foreign_or_changed_state_is_refused() {
        let keys = |seed| {
            Keys::new(Keyring::generate(&mut StdRng::seed_from_u64(seed)), Arc::new(ManualClock::at(0)))
        };
        let (a, b) = (keys(1), keys(2));
        let state = Attempt::derive(&a, FlowId::from_bytes([7; 16]), 1).unwrap().state;
        assert!(Attempt::open(&b, &state).is_none());
        let mut bytes = URL_SAFE_NO_PAD.decode(&state).unwrap();
        bytes[20] ^= 1;
        for bad in [&URL_SAFE_NO_PAD.encode(bytes), "", "x", &state[1..]] {
            assert!(Attempt::open(&a, bad).is_none(), "{bad}");
        }
    }
}
