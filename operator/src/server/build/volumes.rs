//! What is mounted: the configuration, the keys, and each referenced Secret and ConfigMap in a volume of its own, so
//! that one of them may come later. Mounted files are refreshed by the kubelet, which is how rotation reaches a pod.

use std::path::Path;

use gatehouse_gateway_config::{CONFIG_PATH, KEYRING_KEY, KEYS_DIR, KeyRef, REFS_DIR, RefKind};
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, SecretVolumeSource, Volume, VolumeMount};

use crate::server::{names, validate::ValidatedServer};

/// The mode that Kubernetes gives mounted files by itself: said, so that the live object equals the desired one.
const MODE: i32 = 0o644;

/// Every volume with its mount.
pub(super) fn build(server: &ValidatedServer, config_hash: &str) -> Vec<(Volume, VolumeMount)> {
    let directory = Path::new(CONFIG_PATH).parent().unwrap_or(Path::new("/"));
    let config = ConfigMapVolumeSource {
        name: names::config_map(&server.name, config_hash),
        default_mode: Some(MODE),
        ..ConfigMapVolumeSource::default()
    };
    let keys = SecretVolumeSource {
        secret_name: Some(names::keys_secret(&server.name)),
        default_mode: Some(MODE),
        items: Some(vec![KeyToPath {
            key: KEYRING_KEY.to_owned(),
            path: KEYRING_KEY.to_owned(),
            ..KeyToPath::default()
        }]),
        ..SecretVolumeSource::default()
    };
    let mut all = vec![
        (
            Volume { name: "config".to_owned(), config_map: Some(config), ..Volume::default() },
            directory.into(),
        ),
        (
            Volume { name: "keys".to_owned(), secret: Some(keys), ..Volume::default() },
            Path::new(KEYS_DIR).into(),
        ),
    ];
    all.extend(server.mounts.iter().map(|(kind, name)| reference(*kind, name)));
    all.into_iter()
        .map(|(volume, path): (Volume, std::path::PathBuf)| {
            let mount = VolumeMount {
                name: volume.name.clone(),
                mount_path: path.to_string_lossy().into_owned(),
                read_only: Some(true),
                ..VolumeMount::default()
            };
            (volume, mount)
        })
        .collect()
}

/// A Secret or ConfigMap that the spec names: optional, since the gateway starts without it and refuses what needs it.
fn reference(kind: RefKind, name: &str) -> (Volume, std::path::PathBuf) {
    let path = KeyRef { kind, name: name.to_owned(), key: String::new() }.dir_under(Path::new(REFS_DIR));
    // A name of an object may be longer than that of a volume, and hold dots.
    let hash = names::short_hash(name.as_bytes(), 10);
    let volume = match kind {
        RefKind::Secret => Volume {
            name: format!("secret-{hash}"),
            secret: Some(SecretVolumeSource {
                secret_name: Some(name.to_owned()),
                optional: Some(true),
                default_mode: Some(MODE),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        },
        RefKind::ConfigMap => Volume {
            name: format!("configmap-{hash}"),
            config_map: Some(ConfigMapVolumeSource {
                name: name.to_owned(),
                optional: Some(true),
                default_mode: Some(MODE),
                ..ConfigMapVolumeSource::default()
            }),
            ..Volume::default()
        },
    };
    (volume, path)
}
