//! Labels, annotations and node labels of the pod template. The CRD's schema cannot check the keys of a map, and the
//! API server would refuse the Deployment.

use super::Checks;
use crate::crd::{primitive::TextMap, server_gateway::PodTemplate};

/// The prefixes of labels that are the operator's.
const RESERVED: [&str; 2] = ["gatehouse.dev/", "app.kubernetes.io/"];

/// Checks the three maps.
pub(super) fn check(checks: &mut Checks<'_>, template: &PodTemplate) {
    each(checks, "spec.gateway.pod.labels", &template.labels, true);
    each(checks, "spec.gateway.pod.annotations", &template.annotations, false);
    each(checks, "spec.gateway.pod.nodeSelector", &template.node_selector, true);
    if let Some(key) = template.labels.keys().find(|k| RESERVED.iter().any(|prefix| k.starts_with(prefix))) {
        let message =
            format!("\"{key}\": labels of gatehouse.dev/ and app.kubernetes.io/ are the operator's");
        checks.invalid("spec.gateway.pod.labels", message);
    }
}

fn each(checks: &mut Checks<'_>, field: &str, map: &TextMap, label_values: bool) {
    for (key, value) in map {
        if !is_key(key) {
            let message = format!(
                "\"{}\" is not a qualified name: at most 63 letters, digits, -, _ and ., with an optional DNS prefix and /",
                key.escape_debug()
            );
            checks.invalid(field, message);
        }
        if label_values && !value.is_empty() && !is_name(value) {
            let message = format!(
                "the value \"{}\" of \"{}\" is not a label value: at most 63 letters, digits, -, _ and .",
                value.escape_debug(),
                key.escape_debug()
            );
            checks.invalid(field, message);
        }
    }
}

fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_prefix(prefix) && is_name(name),
        None => is_name(key),
    }
}

fn is_prefix(prefix: &str) -> bool {
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    prefix.len() <= 253 && prefix.split('.').all(label)
}

fn is_name(name: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    name.len() <= 63
        && ends(name.bytes().next())
        && ends(name.bytes().last())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_qualified_names() {
        for key in ["a", "example.com/a-b_c.d", "9"] {
            assert!(is_key(key), "{key}");
        }
        for key in ["", "-a", "a/", "/a", "Example.com/a", "a b", &"a".repeat(64)] {
            assert!(!is_key(key), "{key}");
        }
    }
}
