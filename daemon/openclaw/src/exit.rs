//! Every way this program ends, and every error code that a client sees. One place.

use std::fmt;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

/// The exit codes, after `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// 1: the task, check or agent failed; the program did what it was asked.
    Failed,
    /// 64: the call is wrong: an unknown agent, command or option, malformed JSON, too long a message.
    Usage,
    /// 69: there is no daemon, or it does not have what was asked for.
    Unavailable,
    /// 74: a file could not be read or written.
    Io,
    /// 75: not now: already running, out of time, full disk, full queue.
    TryAgain,
    /// 78: the configuration is wrong.
    Config,
}

impl Code {
    const fn number(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Io => 74,
            Self::TryAgain => 75,
            Self::Config => 78,
        }
    }
}

/// Why the program ends otherwise than well: a code, and what failed, why, what to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The code.
    pub code: Code,
    /// For people; may have several lines, may be empty when all has been said.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The same as another error's text.
    pub fn of(code: Code, error: &dyn fmt::Display) -> Self {
        Self::new(code, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(failure.code.number())
    }
}

impl From<settings::LoadError> for Failure {
    fn from(error: settings::LoadError) -> Self {
        Self::of(Code::Config, &error)
    }
}

impl From<supervisor::Error> for Failure {
    fn from(error: supervisor::Error) -> Self {
        use supervisor::Error;
        let code = match &error {
            Error::Unknown { .. } => Code::Usage,
            Error::Elsewhere { .. } | Error::StandsBy { .. } => Code::Unavailable,
            Error::Gone => Code::Unavailable,
            Error::Workspace { .. } => Code::Io,
            Error::Reload(_) => Code::Failed,
            Error::Store(_) => Code::TryAgain,
        };
        Self::of(code, &error)
    }
}

impl From<supervisor::library::sign::Error> for Failure {
    fn from(error: supervisor::library::sign::Error) -> Self {
        use supervisor::library::sign::Error;
        let code = match &error {
            Error::There(_) | Error::NoKey(_) | Error::BadKey { .. } => Code::Usage,
            Error::File { .. } => Code::Io,
            Error::Minisign(_) => Code::Failed,
        };
        Self::of(code, &error)
    }
}

impl From<gateway::desk::Error> for Failure {
    fn from(error: gateway::desk::Error) -> Self {
        use gateway::desk::Error;
        match error {
            Error::Wrong(why) => Self::new(Code::Usage, why),
            Error::Supervisor(error) => error.into(),
            Error::Store(error) => error.into(),
            Error::NoSuchAlert(_) => Self::of(Code::Usage, &error),
            Error::Neighbour(_) | Error::WentBack { .. } => Self::of(Code::Failed, &error),
        }
    }
}

impl From<gateway::Error> for Failure {
    fn from(error: gateway::Error) -> Self {
        use gateway::Error;
        let code = match &error {
            Error::Token { .. } | Error::Empty { .. } | Error::Open { .. } | Error::NotOurs { .. } => {
                Code::Config
            }
            Error::Taken { .. } | Error::NotHere { .. } | Error::Listen { .. } => Code::TryAgain,
            Error::HandedOver(_) => Code::Io,
        };
        Self::of(code, &error)
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        use store::Error;
        let code = match &error {
            Error::Full
            | Error::Database(_)
            | Error::QueueFull { .. }
            | Error::Away(_)
            | Error::Down(_)
            | Error::Busy
            | Error::Locked
            | Error::Copying(_)
            | Error::ReadOnly(_)
            | Error::InTheWay(_)
            | Error::Doubtful(_) => Code::TryAgain,
            Error::Open { .. } => Code::Io,
            Error::Newer { .. } | Error::Refused(_) => Code::Config,
            Error::Copy(_) => Code::Failed,
            Error::NoSuchTask(_) | Error::WrongState { .. } => Code::Usage,
            Error::Closed => Code::Unavailable,
        };
        Self::of(code, &error)
    }
}
