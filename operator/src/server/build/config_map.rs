//! The gateway's configuration file, in an immutable ConfigMap whose name carries the hash of its content.

use std::path::Path;

use gatehouse_gateway_config::CONFIG_PATH;
use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use crate::server::{names, validate::ValidatedServer};

/// Enough of a SHA-256 that two configurations of one server never meet.
const HASH_DIGITS: usize = 10;

/// The ConfigMap, and the hash in its name.
pub(super) fn build(server: &ValidatedServer) -> (ConfigMap, String) {
    // Structs of texts, numbers and lists always serialize; the fields keep their order, so the hash is stable.
    let text = serde_json::to_string_pretty(&server.config).unwrap_or_default();
    let hash = names::short_hash(text.as_bytes(), HASH_DIGITS);
    let map = ConfigMap {
        metadata: metadata(server, names::config_map(&server.name, &hash)),
        immutable: Some(true),
        data: Some([(file_name(), text)].into()),
        ..ConfigMap::default()
    };
    (map, hash)
}

/// The name under which the gateway expects the file.
fn file_name() -> String {
    Path::new(CONFIG_PATH).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
