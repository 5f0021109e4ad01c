//! Logs: which events are written to standard error, and in which format.
//!
//! Logs never go to standard output, so that `hanse-operator crds` can be piped. [`init`] is called once, by `main`; no
//! other module depends on where its events are written.

use std::{
    env,
    io::{self, IsTerminal},
};

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::ParseError, fmt::MakeWriter, layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::settings::LogFormat;

/// All events of the operator from `info`, and of the consensus engine from `warn`: at `info` it logs every heartbeat. None of the
/// client library's about a request that failed, which it logs as errors whoever is at fault: who made the request says what it means.
const DEFAULT_FILTER: &str = "info,openraft=warn,kube_client::client::builder=off";

/// Why logging could not be started.
#[derive(Debug, thiserror::Error)]
pub enum InitTelemetryError {
    #[error(
        "failed to read the log filter '{filter}'; RUST_LOG must be a list such as 'info,hanse_operator=debug'"
    )]
    ReadFilter {
        filter: String,
        #[source]
        source: ParseError,
    },
    #[error("failed to install the logger; it may be installed only once")]
    Install(#[source] tracing_subscriber::util::TryInitError),
}

/// Sends the events of this process to standard error, filtered by `RUST_LOG`.
pub fn init(format: LogFormat) -> Result<(), InitTelemetryError> {
    let filter = env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let colour =
        io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    subscriber(format, &filter, colour, io::stderr)?
        .try_init()
        .map_err(InitTelemetryError::Install)
}

/// The subscriber that formats events as lines. An empty `filter` selects the default filter.
fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    colour: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + 'static, InitTelemetryError>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let filter = if filter.is_empty() {
        DEFAULT_FILTER
    } else {
        filter
    };
    let parsed = EnvFilter::try_new(filter).map_err(|source| InitTelemetryError::ReadFilter {
        filter: filter.to_owned(),
        source,
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => lines.with_ansi(colour).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    Ok(Registry::default().with(lines.with_filter(parsed)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn log(format: LogFormat, filter: &str, events: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(format, filter, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, events);
        written.text()
    }

    #[test]
    fn libraries_are_logged_as_far_as_it_concerns_an_operator() {
        let lines = log(LogFormat::Text, "", || {
            tracing::info!(target: "hanse_operator", "joined");
            tracing::debug!(target: "hanse_operator", "detail");
            tracing::info!(target: "openraft::core", "heartbeat");
            tracing::warn!(target: "openraft::core", "unreachable");
            tracing::error!(target: "kube_client::client::builder", "failed with status 500");
        });
        let messages: Vec<&str> = lines
            .lines()
            .filter_map(|line| line.rsplit(": ").next())
            .collect();
        assert_eq!(messages, ["joined", "unreachable"]);
    }

    #[test]
    fn json_lines_carry_their_fields_at_the_top() {
        let line = log(LogFormat::Json, "", || {
            tracing::info!(member = "acme-eu-1", "joined");
        });
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["message"], &line["member"]),
            (&"joined".into(), &"acme-eu-1".into())
        );
    }

    #[test]
    fn text_for_a_file_has_no_colours() {
        let lines = log(LogFormat::Text, "", || tracing::error!("failed"));
        assert!(!lines.contains('\u{1b}'), "{lines:?}");
    }

    #[test]
    fn an_invalid_filter_is_quoted_in_the_error() {
        let error = subscriber(LogFormat::Text, "info,a=b=c", false, io::sink)
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "failed to read the log filter 'info,a=b=c'; RUST_LOG must be a list such as 'info,hanse_operator=debug'"
        );
    }
}
