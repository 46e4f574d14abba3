//! Whether everything that the spec names exists, and the sealing keys.

use gatehouse_gateway_config::RefKind;

use super::Checks;
use crate::{
    crd::{ACCEPT_KEY_LOSS, condition::Reason},
    server::{fetch::Keys, names, refs},
};

/// Checks every reference and the keys.
pub(super) fn check(checks: &mut Checks<'_>) {
    keys(checks);
    for reference in refs::references(checks.server) {
        let key = reference.key;
        let (kind, held) = match key.kind {
            RefKind::Secret => ("Secret", checks.fetched.secrets.get(&key.name)),
            RefKind::ConfigMap => ("ConfigMap", checks.fetched.config_maps.get(&key.name)),
        };
        match held {
            None if checks.fetched.assume_refs => {}
            None => {
                let message =
                    format!("{kind} \"{}\" does not exist in namespace \"{}\"", key.name, checks.namespace);
                checks.unresolved(Reason::RefNotFound, reference.field, message);
            }
            Some(held) if !held.contains(&key.key) => {
                let found: Vec<&str> = held.iter().map(String::as_str).collect();
                let message = format!(
                    "{kind} \"{}\" has no key \"{}\"; it has {}",
                    key.name,
                    key.key,
                    if found.is_empty() { "none".to_owned() } else { found.join(", ") }
                );
                checks.unresolved(Reason::KeyNotFound, reference.field, message);
            }
            Some(_) => {
                let content = (key.name.clone(), key.key.clone());
                if let Some(why) = checks.fetched.bad_content.get(&content) {
                    let message = format!("{kind} \"{}\", key \"{}\": {why}", key.name, key.key);
                    checks.unresolved(Reason::InvalidRef, reference.field, message);
                }
            }
        }
    }
}

fn keys(checks: &mut Checks<'_>) {
    let secret = names::keys_secret(&checks.name);
    match checks.fetched.keys.clone() {
        Keys::Offline | Keys::Present { .. } => {}
        Keys::Lost { instance } => {
            let message = format!(
                "Secret \"{secret}\" with the sealing keys is gone, and with it every stored credential and sign-in of \
                 instance {instance}; restore it from a backup, or accept the loss: kubectl annotate mcps {} -n {} \
                 {ACCEPT_KEY_LOSS}={instance}",
                checks.name, checks.namespace
            );
            checks.unresolved(Reason::KeysLost, "status.keys.instance", message);
        }
        Keys::Replaced { instance, found } => {
            let message = format!(
                "Secret \"{secret}\" holds the sealing keys of instance {found}, which open no stored credential and \
                 sign-in of instance {instance}; restore its keys from a backup, or accept the loss: kubectl annotate \
                 mcps {} -n {} {ACCEPT_KEY_LOSS}={instance}",
                checks.name, checks.namespace
            );
            checks.unresolved(Reason::KeysLost, "status.keys.instance", message);
        }
        Keys::Unusable { why } => {
            let message = format!("Secret \"{secret}\" with the sealing keys cannot be used: {why}");
            checks.unresolved(Reason::KeysInvalid, "status.keys.secret", message);
        }
    }
}
