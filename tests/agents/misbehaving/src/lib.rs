//! A test agent that does what its message says, however bad: the daemon's tests send it.
//!
//! | text | what happens |
//! |---|---|
//! | `echo TEXT` | replies TEXT |
//! | `greet` | replies the setting `greeting` |
//! | `sleep MS TEXT` | replies TEXT after MS milliseconds |
//! | `error TEXT`, `invalid TEXT` | an error of that class |
//! | `panic TEXT` | panics |
//! | `abort TEXT` | TEXT on stderr, and SIGABRT |
//! | `segfault` | SIGSEGV |
//! | `exit N` | the process ends with status N |
//! | `loop` | busy for ever |
//! | `eat` | allocates and touches memory, 1 MiB at a time, until Rust aborts or the kernel kills |
//! | `flood N` | N lines on stderr |
//! | `garbage N` | N bytes on stdout that are no UTF-8; with newlines among them when N is even |
//! | `closefd` | closes fd 0, where a careless host would have its socket |
//! | `big N` | a reply of N bytes |
//! | `append PATH LINE` | appends LINE to PATH in one write: an effect that can be counted |
//! | `fail-until PATH N` | appends a line to PATH; an error until there are N, then a reply |
//! | `insist PATH N LINE` | appends LINE; an error until it stands there N times |
//! | `span PATH MS LINE` | appends `LINE(`, sleeps MS milliseconds, appends `LINE)` |
//! | `linger PATH MS` | appends a line; when it is the first there, replies after MS milliseconds |
//! | `meet PATH N` | appends a line; replies when there are N |
//! | `fork` | leaves a child `sleep 1000` that holds this process's stdin, stdout and stderr; replies its pid |
//! | `call METHOD JSON` | replies the answer of the host's METHOD, or its error, as JSON |
//! | `/approve ID` | the same of `missions.decide`: it approves |
//! | `hand AGENT TEXT` | a follow-up for AGENT |
//! | `run AGENT TEXT` | replies what AGENT replied, or fails |
//!
//! The setting `start` does the same to `Agent::start`: see [`Start`].

mod crash;
mod effects;
mod output;

use std::time::Duration;

use openclaw_agent_api::context::FollowUp;
use openclaw_agent_api::prelude::*;
use openclaw_agent_api::serde_json;
use serde::Deserialize;

/// What the host's start does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// It starts.
    #[default]
    Ok,
    /// It takes an hour.
    Hang,
    /// It panics.
    Panic,
    /// The process ends with status 3.
    Exit,
    /// It answers an error.
    Error,
    /// SIGSEGV.
    Segfault,
}

/// The settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What `greet` replies.
    pub greeting: String,
    /// What the start does.
    pub start: Start,
}

/// The agent.
pub struct Misbehaving {
    settings: Settings,
}

impl Agent for Misbehaving {
    fn describe() -> Manifest {
        let manifest = Manifest::new("Fails in every way it is told to.");
        let manifest = match crowd() {
            Some(name) => manifest.named(&name),
            None => manifest,
        };
        manifest.settings(json!({
            "type": "object",
            "properties": {
                "greeting": {"type": "string"},
                "start": {"enum": ["ok", "hang", "panic", "exit", "error", "segfault"]},
            },
            "additionalProperties": false,
        }))
    }

    fn create(settings: Value) -> Result<Self> {
        Ok(Self { settings: serde_json::from_value(settings)? })
    }

    fn start(&self, _ctx: &Context) -> Result<()> {
        match self.settings.start {
            Start::Ok => {}
            Start::Hang => crash::sleep(Duration::from_secs(3600)),
            Start::Panic => panic!("told to panic at the start"),
            Start::Exit => crash::exit(3),
            Start::Error => return Err(AgentError::failed("told to fail at the start")),
            Start::Segfault => crash::segfault(),
        }
        Ok(())
    }

    fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
        let (word, rest) = first(message.text.trim());
        let text = match word {
            "echo" => rest.to_owned(),
            "log" => {
                ctx.warn(rest);
                "logged".into()
            }
            "greet" => self.settings.greeting.clone(),
            "sleep" => {
                let (millis, text) = first(rest);
                crash::sleep(Duration::from_millis(number(millis)?));
                text.to_owned()
            }
            // So that what is said was not in what it was told.
            "backwards" => {
                let (word, rest) = first(rest);
                let text = format!("{word} {}", rest.chars().rev().collect::<String>());
                return self.handle(ctx, &Message { text, ..message.clone() });
            }
            "print" => {
                println!("{rest}");
                "printed".into()
            }
            "error" => return Err(AgentError::failed(rest)),
            "invalid" => return Err(AgentError::invalid(rest)),
            "panic" => panic!("{rest}"),
            "abort" => crash::abort(rest),
            "segfault" => {
                crash::segfault();
                "still here".into()
            }
            "exit" => crash::exit(number(rest)?),
            "loop" => crash::spin(),
            "eat" => crash::eat(),
            "closefd" => {
                crash::close_stdin();
                "closed".into()
            }
            "flood" => output::flood(number(rest)?)?,
            "garbage" => output::garbage(number(rest)?)?,
            "big" => "x".repeat(number(rest)?),
            "append" => {
                let (path, line) = first(rest);
                effects::append(path, line)?;
                "appended".into()
            }
            "fail-until" => {
                let (path, lines) = first(rest);
                effects::fail_until(path, number(lines)?)?
            }
            "insist" => {
                let (path, (lines, line)) = (first(rest).0, first(first(rest).1));
                effects::insist(path, number(lines)?, line)?
            }
            "span" => {
                let (path, (millis, line)) = (first(rest).0, first(first(rest).1));
                effects::span(path, Duration::from_millis(number(millis)?), line)?
            }
            "linger" => {
                let (path, millis) = first(rest);
                effects::linger(path, Duration::from_millis(number(millis)?))?
            }
            "meet" => {
                let (path, lines) = first(rest);
                effects::meet(path, number(lines)?)?
            }
            "fork" => effects::fork()?.id().to_string(),
            "call" => {
                let (method, payload) = first(rest);
                let payload = if payload.is_empty() { json!({}) } else { serde_json::from_str(payload)? };
                match ctx.call(method, payload) {
                    Ok(answer) => answer.to_string(),
                    Err(error) => json!(error).to_string(),
                }
            }
            "/approve" => match ctx.decide_mission(rest, "approved", "it is mine") {
                Ok(mission) => mission.to_string(),
                Err(error) => json!(error).to_string(),
            },
            "hand" => {
                let (agent, text) = first(rest);
                let agent = agent.parse().map_err(|bad| AgentError::invalid(format!("{bad}")))?;
                let session = message.session.clone();
                ctx.hand_over(FollowUp { agent, text: text.into(), data: Value::Null, session });
                "handed".into()
            }
            "run" => {
                let (agent, text) = first(rest);
                return Ok(ctx.run(agent, text, Duration::from_secs(30))?);
            }
            other => return Err(AgentError::invalid(format!("`{other}` is nothing this agent can do"))),
        };
        Ok(Reply::text(text))
    }
}

/// In a host of an agent called `crowd-…`, that name: one library plays many agents. A host's last argument is its
/// agent's name.
fn crowd() -> Option<String> {
    std::env::args().next_back().filter(|name| name.starts_with("crowd-"))
}

/// The first word, and what follows the one space after it, as it is.
fn first(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| AgentError::invalid(format!("`{text}` is no number that fits")))
}

export_agent!(Misbehaving);

#[cfg(test)]
mod tests;
