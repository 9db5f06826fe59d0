//! What a supervisor and a host say to each other over their socketpair.
//!
//! A frame is a little-endian `u32` length and one JSON object of that many bytes, at most [`MAX_FRAME`]. The wire
//! is the stability boundary: new fields are optional, new messages are ignored by who does not know them.

use std::path::PathBuf;

use openclaw_agent_api::MAX_FRAME;
use openclaw_agent_api::agent::AgentError;
use openclaw_agent_api::context::{CallError, Level};
use openclaw_agent_api::manifest::Manifest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use settings::{Redactor, Sandbox};
use store::task::TaskId;

use crate::sandbox::InForce;

/// Supervisor → host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToHost {
    /// Open the library; answered by `Hello` or `Refused`.
    Open {
        /// The library, an absolute path.
        library: PathBuf,
        /// Where the operator knows it from: for refusals.
        #[serde(default)]
        shown: PathBuf,
        /// Handlers that may run side by side.
        concurrency: u32,
        /// RLIMIT_DATA, in bytes.
        memory_limit: u64,
        /// Lines a second the agent may log.
        #[serde(default = "default_log_rate")]
        log_rate: u32,
        /// The lock that every host of this home holds while it lives.
        lock: PathBuf,
        /// How the host is shut in before it opens the library.
        #[serde(default)]
        sandbox: Sandbox,
        /// The agent's working folder, an absolute path.
        #[serde(default)]
        workspace: PathBuf,
        /// Whether the agent's `now` is asked of the daemon: where what it is told is recorded, or comes from a record.
        #[serde(default)]
        ask_time: bool,
        /// What people sent: it may be read.
        #[serde(default)]
        uploads: PathBuf,
    },
    /// Make and start the agent; answered by `Ready`, `Refused` or `StartFailed`.
    Create {
        /// Its settings.
        settings: Box<RawValue>,
    },
    /// Handle a task; answered by `Done`.
    Task {
        /// Which.
        id: TaskId,
        /// What the agent is called with.
        kind: String,
        /// The agent API's `Message`.
        message: Box<RawValue>,
    },
    /// The answer to a `Call`.
    Answer {
        /// Which.
        call: u64,
        /// What came of it.
        answer: Result<Box<RawValue>, CallError>,
    },
    /// The agent is led here for so long at least, in milliseconds. A host that hears no more until then ends: its daemon
    /// stands still, and another one starts the agent. Without one it lives as long as its daemon.
    Live {
        /// From now.
        ms: u64,
    },
    /// Answered by `Pong` from the I/O thread.
    Ping {
        /// Comes back.
        seq: u64,
        /// Comes back: lets a benchmark choose the frame's size.
        #[serde(default)]
        pad: String,
    },
    /// Say what the agent knows, beside whatever its handlers do; answered by `Snapshot`.
    Snapshot {
        /// Comes back.
        seq: u64,
    },
    /// What the agent's predecessor knew; answered by `Restored`.
    Restore {
        /// As it was said.
        state: Box<RawValue>,
    },
    /// Nothing more comes: let the agent say good-bye, then exit.
    Stop,
}

/// Host → supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromHost {
    /// What holds the host; the listener of its filter comes with it. Said before the library is opened.
    Sandboxed {
        /// What is in force, and what this kernel has not.
        sandbox: InForce,
    },
    /// The library is open.
    Hello {
        /// What the agent says of itself.
        manifest: Box<Manifest>,
    },
    /// The agent takes tasks.
    Ready,
    /// It can never work like this.
    Refused {
        /// What, why, and what to do, in a sentence.
        why: String,
    },
    /// `Agent::start` answered an error, or the machine is short of something.
    StartFailed {
        /// Which.
        why: String,
    },
    /// A ping came back.
    Pong {
        /// Which.
        seq: u64,
        /// As sent.
        #[serde(default)]
        pad: String,
    },
    /// A handler has ended.
    Done {
        /// Which task.
        id: TaskId,
        /// How.
        outcome: Result<Box<RawValue>, AgentError>,
        /// How long it took, in microseconds.
        micros: u64,
    },
    /// The agent asks for something.
    Call {
        /// Answered under this number.
        call: u64,
        /// What for.
        method: String,
        /// With what.
        payload: Box<RawValue>,
    },
    /// What the agent knows.
    Snapshot {
        /// Which was asked for.
        seq: u64,
        /// That, or why it cannot say.
        outcome: Result<Box<RawValue>, AgentError>,
    },
    /// The agent has been told what its predecessor knew.
    Restored {
        /// Whether it could make something of it.
        outcome: Result<(), AgentError>,
    },
    /// The agent logs a line.
    Log {
        /// How much it matters.
        level: Level,
        /// What it says.
        text: String,
        /// On behalf of which task.
        #[serde(default)]
        task: Option<String>,
    },
    /// The agent panicked; the host ends itself.
    Panicked {
        /// Where and why.
        message: String,
    },
}

impl FromHost {
    /// The same without secrets in what it says went wrong. What the agent answers and asks for is not touched.
    pub fn redacted(mut self, redactor: &Redactor) -> Self {
        let words = match &mut self {
            Self::Refused { why } | Self::StartFailed { why } => why,
            Self::Panicked { message } => message,
            Self::Done { outcome: Err(error), .. }
            | Self::Snapshot { outcome: Err(error), .. }
            | Self::Restored { outcome: Err(error) } => &mut error.message,
            _ => return self,
        };
        redactor.redact_in(words);
        self
    }
}

fn default_log_rate() -> u32 {
    settings::Supervision::default().log_rate
}

/// A frame that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLong(usize),
    /// Not the JSON that was expected.
    #[error("a frame does not read: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Appends a frame to `out`; on an error `out` is as before.
///
/// # Errors
/// [`Error::TooLong`], [`Error::Malformed`].
pub fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let written = serde_json::to_writer(&mut *out, message).map_err(Error::from).and_then(|()| {
        let length = out.len() - start - 4;
        if length > MAX_FRAME { Err(Error::TooLong(length)) } else { Ok(length as u32) }
    });
    match written {
        Ok(length) => out[start..start + 4].copy_from_slice(&length.to_le_bytes()),
        Err(_) => out.truncate(start),
    }
    written.map(drop)
}

/// Bytes as they arrive, frames as they are whole.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Adds what has arrived.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.read == self.buffer.len() {
            self.buffer.clear();
            self.read = 0;
            // One large frame must not be paid for ever after.
            self.buffer.shrink_to(64 * 1024);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// The stream cannot be read on after one.
    pub fn frame<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let rest = &self.buffer[self.read..];
        let Some((head, rest)) = rest.split_first_chunk::<4>() else { return self.wait() };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(Error::TooLong(length));
        }
        let Some(body) = rest.get(..length) else { return self.wait() };
        let message = serde_json::from_slice(body);
        self.read += 4 + length;
        Ok(Some(message?))
    }

    fn wait<T>(&mut self) -> Result<Option<T>, Error> {
        self.buffer.drain(..self.read);
        self.read = 0;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frames_survive_any_chopping(pads in proptest::collection::vec("\\PC{0,64}", 1..20), cut in 1usize..40) {
            let mut bytes = Vec::new();
            for (seq, pad) in pads.iter().enumerate() {
                encode(&ToHost::Ping { seq: seq as u64, pad: pad.clone() }, &mut bytes).unwrap();
            }
            let (mut decoder, mut got) = (Decoder::default(), Vec::new());
            for chunk in bytes.chunks(cut) {
                decoder.extend(chunk);
                while let Some(ToHost::Ping { pad, .. }) = decoder.frame().unwrap() {
                    got.push(pad);
                }
            }
            prop_assert_eq!(got, pads);
        }

        #[test]
        fn garbage_is_an_error_or_a_wait_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.extend(&bytes);
            for _ in 0..50 {
                if !matches!(decoder.frame::<FromHost>(), Ok(Some(_))) {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_and_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let ping = ToHost::Ping { seq: 1, pad: "x".repeat(MAX_FRAME) };
        assert!(matches!(encode(&ping, &mut out), Err(Error::TooLong(_))));
        assert_eq!(out, b"before");
        let mut decoder = Decoder::default();
        decoder.extend(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.frame::<ToHost>(), Err(Error::TooLong(_))));
    }
}
