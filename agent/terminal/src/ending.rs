//! How commands end.

use std::io::{self, Write};
use std::process::ExitCode;

/// The exit codes of all programs, for their help.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed; the last line says why and what to do
  2  the command line is wrong
  3  done with exceptions, which were listed";

/// How a command that did not fail has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// As asked.
    Whole,
    /// With exceptions that were listed.
    WithExceptions,
}

impl Done {
    /// With exceptions, if there were any.
    #[must_use]
    pub const fn with(exceptions: u64) -> Self {
        if exceptions == 0 { Self::Whole } else { Self::WithExceptions }
    }

    /// Both of two.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        match self {
            Self::Whole => other,
            Self::WithExceptions => self,
        }
    }
}

/// Says why a command failed, and gives the exit code. Whoever closes the pipe that we write to has seen enough.
#[must_use]
pub fn end(program: &str, result: anyhow::Result<Done>) -> ExitCode {
    match result {
        Ok(Done::Whole) => ExitCode::SUCCESS,
        Ok(Done::WithExceptions) => ExitCode::from(3),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; there is nobody else to tell.
            let _ = writeln!(io::stderr(), "{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was done, told in the last lines: whoever does not listen to them any more changes nothing about it.
pub fn told(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let of_io = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
    let of_json = |cause: &serde_json::Error| cause.io_error_kind() == Some(io::ErrorKind::BrokenPipe);
    // Only of our own output: a connection that breaks comes as an error of its own type.
    error.downcast_ref().is_some_and(of_io) || error.downcast_ref().is_some_and(of_json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_outlast_what_is_whole() {
        assert_eq!(Done::with(0).and(Done::Whole), Done::Whole);
        assert_eq!(Done::with(2).and(Done::Whole), Done::WithExceptions);
        assert_eq!(Done::Whole.and(Done::with(1)), Done::WithExceptions);
    }

    #[test]
    fn who_stops_listening_to_a_report_changes_nothing() {
        assert!(told(Err(io::ErrorKind::BrokenPipe.into())).is_ok());
        assert!(told(Err(io::ErrorKind::StorageFull.into())).is_err());
    }

    #[test]
    fn only_our_own_closed_pipe_is_no_failure() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(is_closed_pipe(&closed().into()));
        assert!(!is_closed_pipe(&anyhow::anyhow!("something else")));
        assert!(!is_closed_pipe(&io::Error::from(io::ErrorKind::NotFound).into()));
    }
}
