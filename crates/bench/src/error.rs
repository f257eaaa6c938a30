//! Why a run could not be finished.

use std::io;

/// What went wrong, in words for the person who runs it.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The plan cannot be carried out as it is.
    #[error("{0}")]
    Plan(String),
    /// Nobody listens there, or the system has no more connections to give.
    #[error("cannot connect to {authority}: {error}")]
    Connect {
        /// Host and port.
        authority: String,
        /// What the system said.
        error: io::Error,
    },
    /// A connection ended amid a request, so what became of it is not known.
    #[error("the connection broke amid a request: {0}")]
    Broken(String),
    /// The server said no.
    #[error("the server answered {status} to {what}: {text}")]
    Refused {
        /// The status.
        status: u16,
        /// The kind of request.
        what: &'static str,
        /// The beginning of its body.
        text: String,
    },
    /// What was read is not what was acknowledged.
    #[error("VERIFICATION FAILED: {0}")]
    Mismatch(String),
    /// Something did not arrive in time.
    #[error("{0}")]
    Late(String),
    /// The observer wants no more of it.
    #[error("stopped")]
    Stopped,
    /// The system refused something.
    #[error("{what}: {error}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl BenchError {
    pub(crate) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}
