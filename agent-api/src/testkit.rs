//! Runs an agent in a unit test: the SDK's own dispatch, a scripted host, no daemon.
//!
//! ```
//! use openclaw_agent_api::prelude::*;
//! use openclaw_agent_api::testkit::TestAgent;
//!
//! struct Greeter;
//! impl Agent for Greeter {
//!     fn describe() -> Manifest {
//!         Manifest::new("Greets.").needs("memory")
//!     }
//!     fn create(_: Value) -> Result<Self> {
//!         Ok(Greeter)
//!     }
//!     fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
//!         let seen: u32 = ctx.memory().get(&message.text)?.unwrap_or(0) + 1;
//!         ctx.memory().set(&message.text, &seen)?;
//!         Ok(Reply::text(format!("hello {}, {seen} times", message.text)))
//!     }
//! }
//!
//! let agent = TestAgent::<Greeter>::new(json!({})).unwrap();
//! agent.send("Ada").unwrap();
//! assert_eq!(agent.send("Ada").unwrap().text, "hello Ada, 2 times");
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::abi::{kinds, methods};
use crate::agent::{Agent, AgentError, Message, Reply};
use crate::context::{CallError, CallErrorKind, FollowUp, Host};
use crate::export::{Answered, caught, dispatch};
use crate::manifest::Manifest;

/// An agent under test.
pub struct TestAgent<A> {
    agent: A,
    host: TestHost,
    state: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    messages: u32,
    follow_ups: Vec<FollowUp>,
}

impl<A: Agent> TestAgent<A> {
    /// Makes the agent from its settings.
    ///
    /// # Errors
    /// What `Agent::create` answers.
    pub fn new(settings: Value) -> Result<Self, AgentError> {
        Self::with_host(settings, TestHost::default())
    }

    /// Makes the agent before a host that answers as scripted.
    ///
    /// # Errors
    /// What `Agent::create` answers.
    pub fn with_host(settings: Value, host: TestHost) -> Result<Self, AgentError> {
        let agent = caught(|| A::create(settings)).and_then(|made| made)?;
        Ok(Self { agent, host, state: Mutex::default() })
    }

    /// What the agent says of itself.
    pub fn manifest(&self) -> Manifest {
        A::describe()
    }

    /// The scripted host: what it was asked.
    pub fn host(&self) -> &TestHost {
        &self.host
    }

    /// Sends a text and answers the reply.
    ///
    /// # Errors
    /// What the agent answers; a panic is an error of class `Panic`.
    pub fn send(&self, text: &str) -> Result<Reply, AgentError> {
        self.send_data(text, Value::Null)
    }

    /// Sends a text with structured input.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_data(&self, text: &str, data: Value) -> Result<Reply, AgentError> {
        self.deliver(kinds::MESSAGE, text, data)
    }

    /// Lets a schedule be due.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn tick(&self, schedule: &str) -> Result<(), AgentError> {
        self.deliver(kinds::TICK, schedule, Value::Null).map(drop)
    }

    /// The work handed to other agents so far.
    pub fn follow_ups(&self) -> Vec<FollowUp> {
        locked(&self.state).follow_ups.clone()
    }

    fn deliver(&self, kind: &str, text: &str, data: Value) -> Result<Reply, AgentError> {
        let attempt = {
            let mut state = locked(&self.state);
            state.messages += 1;
            state.messages
        };
        let message = Message {
            task_id: format!("test-{attempt}"),
            text: text.into(),
            data,
            session: Some("test".into()),
            source: "test".into(),
            attempt: 1,
            accepted_at: self.host.now(),
            timeout_ms: None,
        };
        let payload = serde_json::to_vec(&message)?;
        let answer =
            caught(|| dispatch(&self.agent, &self.host, kind, &payload)).and_then(|answer| answer)?;
        let answered: Answered = serde_json::from_slice(&answer)?;
        locked(&self.state).follow_ups.extend(answered.follow_ups);
        Ok(answered.reply)
    }
}

/// A host that answers from a script. Memory works by itself; everything else answers `NotConfigured` unless told.
#[derive(Default)]
pub struct TestHost {
    state: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    now: Option<DateTime<Utc>>,
    answers: BTreeMap<String, VecDeque<Result<Value, CallError>>>,
    calls: Vec<(String, Value)>,
    memory: BTreeMap<String, Value>,
    turns: BTreeMap<String, Vec<Value>>,
}

impl TestHost {
    /// The next call of `method` is answered so; the last answer given to a method is repeated for ever.
    pub fn answer(self, method: &str, answer: Value) -> Self {
        locked(&self.state).answers.entry(method.into()).or_default().push_back(Ok(answer));
        self
    }

    /// The next call of `method` fails so.
    pub fn fail(self, method: &str, error: CallError) -> Self {
        locked(&self.state).answers.entry(method.into()).or_default().push_back(Err(error));
        self
    }

    /// Stops the clock.
    pub fn at(self, now: DateTime<Utc>) -> Self {
        locked(&self.state).now = Some(now);
        self
    }

    /// From now on `method` is answered so.
    pub fn set(&self, method: &str, answer: Value) {
        locked(&self.state).answers.insert(method.into(), [Ok(answer)].into());
    }

    /// Moves the stopped clock.
    pub fn set_time(&self, now: DateTime<Utc>) {
        locked(&self.state).now = Some(now);
    }

    /// The payloads with which `method` was called so far.
    pub fn called(&self, method: &str) -> Vec<Value> {
        self.calls().into_iter().filter(|(name, _)| name == method).map(|(_, payload)| payload).collect()
    }

    /// Every call so far, logs included.
    pub fn calls(&self) -> Vec<(String, Value)> {
        locked(&self.state).calls.clone()
    }

    fn now(&self) -> DateTime<Utc> {
        locked(&self.state).now.unwrap_or_else(Utc::now)
    }
}

impl Host for TestHost {
    fn call(&self, method: &str, payload: Value) -> Result<Value, CallError> {
        let now = self.now();
        let mut script = locked(&self.state);
        script.calls.push((method.into(), payload.clone()));
        if let Some(answers) = script.answers.get_mut(method) {
            let last = answers.len() == 1;
            let next = if last { answers.front().cloned() } else { answers.pop_front() };
            return next.unwrap_or(Ok(Value::Null));
        }
        let text = |field: &str| payload[field].as_str().unwrap_or_default().to_owned();
        match method {
            methods::LOG => Ok(Value::Null),
            methods::NOW => Ok(json!(now)),
            methods::MEMORY_GET => Ok(script.memory.get(&text("key")).cloned().unwrap_or(Value::Null)),
            methods::MEMORY_SET => {
                script.memory.insert(text("key"), payload["value"].clone());
                Ok(Value::Null)
            }
            methods::MEMORY_DELETE => {
                script.memory.remove(&text("key"));
                Ok(Value::Null)
            }
            methods::MEMORY_LIST => {
                let prefix = text("prefix");
                Ok(script.memory.keys().filter(|key| key.starts_with(&prefix)).cloned().collect())
            }
            methods::MEMORY_REMEMBER => {
                let turn = json!({"role": payload["role"], "text": payload["text"], "at": now});
                script.turns.entry(text("session")).or_default().push(turn);
                Ok(Value::Null)
            }
            methods::MEMORY_TURNS => {
                let turns = script.turns.get(&text("session")).cloned().unwrap_or_default();
                let limit = payload["limit"].as_u64().unwrap_or(u64::MAX) as usize;
                Ok(turns[turns.len().saturating_sub(limit)..].to_vec().into())
            }
            other => {
                Err(CallError::new(CallErrorKind::NotConfigured, format!("the test answers no `{other}`")))
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
