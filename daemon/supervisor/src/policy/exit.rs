//! How a host ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Time;
use crate::sentence::sentence;

/// What kind of end it was; decides what follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitClass {
    /// Exit code 0.
    Clean,
    /// Another exit code.
    Error,
    /// A signal that nobody here sent.
    Signal,
    /// A panic, with its message.
    Panic,
    /// It did not answer, or a handler did not end, and was killed.
    Hang,
    /// An allocation failed at the memory limit.
    OutOfMemory,
    /// It was not ready in time, and was killed.
    StartTimeout,
    /// No process could be started: the machine is short of something.
    NotStarted,
    /// It can never work like this.
    Refused,
}

impl ExitClass {
    /// As JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Error => "error",
            Self::Signal => "signal",
            Self::Panic => "panic",
            Self::Hang => "hang",
            Self::OutOfMemory => "out_of_memory",
            Self::StartTimeout => "start_timeout",
            Self::NotStarted => "not_started",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for ExitClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The end of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its kind.
    pub class: ExitClass,
    /// The exit code, the signal, the panic's message: at most 500 characters.
    pub detail: String,
    /// When it was noticed.
    pub at: Time,
}

/// A panic's message may be of any length; with what is said around it, it still is a sentence.
const DETAIL: usize = 300;

impl Exit {
    /// An end of a known class.
    pub fn new(class: ExitClass, detail: impl Into<String>, at: Time) -> Self {
        Self { class, detail: sentence(&detail.into(), DETAIL), at }
    }

    /// Tells the class from the wait status and the last lines on standard error.
    pub fn from_status(code: Option<i32>, signal: Option<i32>, last_words: &[String], at: Time) -> Self {
        let said = |what: &str| last_words.iter().rposition(|line| line.contains(what));
        match (code, signal) {
            (Some(0), _) => Self::new(ExitClass::Clean, "exit code 0", at),
            (Some(code), _) => Self::new(ExitClass::Error, format!("exit code {code}"), at),
            // SIGABRT: so Rust ends when memory is short, whether in the host or the library, …
            (_, Some(6)) => match (said("memory allocation of "), said("panicked at ")) {
                (Some(line), _) => Self::new(ExitClass::OutOfMemory, &last_words[line], at),
                // … and a library built with panic=abort. The message comes a line after the place.
                (_, Some(line)) => {
                    let words = last_words.iter().skip(line).take(2).map(String::as_str);
                    Self::new(ExitClass::Panic, words.collect::<Vec<_>>().join(" "), at)
                }
                _ => Self::new(ExitClass::Signal, format!("signal 6{}", name(6)), at),
            },
            (_, Some(signal)) => Self::new(ExitClass::Signal, format!("signal {signal}{}", name(signal)), at),
            (None, None) => Self::new(ExitClass::Error, "an unknown status", at),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            ExitClass::Clean | ExitClass::Error | ExitClass::Signal => f.write_str(&self.detail),
            class => write!(f, "{}: {}", class.as_str().replace('_', " "), self.detail),
        }
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        24 => " (SIGXCPU)",
        31 => " (SIGSYS)",
        _ => "",
    }
}
