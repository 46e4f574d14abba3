//! Logs: one JSON object a line, level by `RUST_LOG`.

use tracing::{Span, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    filter::LevelFilter,
    fmt::{self, MakeWriter},
    prelude::*,
    util::SubscriberInitExt,
};

/// kube logs every retry of a watch; the operator logs what matters of it.
const QUIET: &str = "kube_client=warn,kube_runtime=warn";

/// Starts logging to standard error for the life of the process; the log is JSON where a machine collects it.
///
/// A second call changes nothing.
pub fn init() {
    let asked = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    // Fails only when a subscriber is set already.
    let _ = subscriber(asked.as_deref(), std::io::stderr).try_init();
}

/// The span of a pass, so that each of its lines names the object. kube's own span goes with the rest of what kube says. It is
/// of the highest level: a filter that lets a line through lets through whose it is. A field called `name` would stand beside
/// the span's.
pub fn pass(controller: &'static str, namespace: &str, object: &str) -> Span {
    tracing::error_span!("pass", controller, namespace, object)
}

/// What writes the lines that `RUST_LOG` asks for.
pub(crate) fn subscriber<W>(asked: Option<&str>, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let json = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
    tracing_subscriber::registry().with(filter(asked)).with(json.with_writer(writer))
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
