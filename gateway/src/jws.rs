//! What is believed of signed tokens (RFC 7515), whoever signs them: a provider's ID tokens and clients' assertions.

use std::time::Duration;

use openidconnect::core::CoreJwsSigningAlgorithm;

/// How far the signer's clock may be from ours.
pub const SKEW: Duration = Duration::from_secs(60);

/// Asymmetric algorithms alone: `none` proves nothing, and with HS256 the published key or the shared secret would
/// sign.
pub const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];
