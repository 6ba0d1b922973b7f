//! The log: lines on standard error.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Begins the log, from `level` on unless `KEEPFAST_LOG` says otherwise. There are colours on a terminal only: a
/// file or a journal gets plain text that can be searched.
pub fn begin_log(level: &str) {
    let filter = EnvFilter::try_from_env("KEEPFAST_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = stderr().is_terminal() && !wants_none;
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(stderr).init();
}
