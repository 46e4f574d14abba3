//! Logs: one JSON object a line, level by `RUST_LOG`.

use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt, prelude::*};

/// kube logs every retry of a watch; the operator logs what matters of it.
const QUIET: &str = "kube_client=warn,kube_runtime=warn";

/// Starts logging to standard error for the life of the process; the log is JSON where a machine collects it.
///
/// A second call changes nothing.
pub fn init() {
    let filter = filter(std::env::var(EnvFilter::DEFAULT_ENV).ok().as_deref());
    let json = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    // Fails only when a subscriber is set already.
    let _ = tracing_subscriber::registry().with(filter).with(json.with_writer(std::io::stderr)).try_init();
}

/// The filter that `RUST_LOG` asks for. kube is quiet unless it is named there: whoever asks for `info` or `debug` does not
/// mean every retry.
fn filter(asked: Option<&str>) -> EnvFilter {
    let asked = asked.filter(|text| !text.trim().is_empty()).unwrap_or("info");
    // Fewer lines than those of a quiet kube are meant for kube, too.
    if asked.parse::<LevelFilter>().is_ok_and(|level| level <= LevelFilter::WARN) {
        return EnvFilter::new(asked);
    }
    EnvFilter::try_new(format!("{QUIET},{asked}")).unwrap_or_else(|_| EnvFilter::new(format!("info,{QUIET}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kube_is_quiet_unless_it_is_named() {
        let of = |asked| {
            let filter = filter(asked).to_string();
            let mut parts: Vec<&str> = filter.split(',').collect();
            parts.sort_unstable();
            parts.join(",")
        };
        let quiet = "info,kube_client=warn,kube_runtime=warn";
        for asked in [None, Some(""), Some("info"), Some("INFO"), Some("a=b=c")] {
            assert_eq!(of(asked), quiet, "{asked:?}");
        }
        assert_eq!(of(Some("debug")), "debug,kube_client=warn,kube_runtime=warn");
        assert_eq!(of(Some("info,kube_client=debug")), "info,kube_client=debug,kube_runtime=warn");
        assert_eq!(of(Some("error")), "error");
        assert_eq!(of(Some("off")), "off");
    }
}
