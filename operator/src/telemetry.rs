//! Logs: one JSON object a line, level by `RUST_LOG`.

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Starts logging to standard error for the life of the process; the log is JSON where a machine collects it.
///
/// A second call changes nothing.
pub fn init() {
    // kube logs every retry of a watch; the operator logs what matters of it.
    let default = "info,kube_client=warn,kube_runtime=warn";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let json = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    // Fails only when a subscriber is set already.
    let _ = tracing_subscriber::registry().with(filter).with(json.with_writer(std::io::stderr)).try_init();
}
