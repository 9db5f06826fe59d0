//! The agent behind the ABI, and the threads that run it.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use abi_stable::erased_types::TD_Opaque;
use abi_stable::std_types::{RResult, RSlice, RStr};
use openclaw_agent_api::abi::{
    AgentModuleV1_Ref, Answer, BoxedAgent, HostObjectV1, HostObjectV1_TO, kinds, methods,
};
use openclaw_agent_api::agent::{AgentError, ErrorClass};
use openclaw_agent_api::chrono::Utc;
use openclaw_agent_api::context::{CallError, CallErrorKind, Level};
use serde::Deserialize;
use serde_json::value::RawValue;
use store::task::TaskId;

use super::outbox::Outbox;
use super::{EXIT_PANIC, EXIT_REFUSED, end};
use crate::throttle::Throttle;
use crate::wire::FromHost;

type CallAnswer = Result<Box<RawValue>, CallError>;

/// One agent and its threads. Threads are made when there is work for them and live as long as the process.
pub struct Agent {
    outbox: Arc<Outbox>,
    calls: Arc<Calls>,
    concurrency: u32,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    agent: Option<Arc<BoxedAgent>>,
    tasks: VecDeque<Work>,
    threads: u32,
    idle: u32,
}

enum Work {
    Handle { id: TaskId, kind: String, message: Box<RawValue> },
    Restore { state: Box<RawValue> },
    Stop,
}

impl Agent {
    /// Makes and starts the agent on its first thread, so that the I/O thread goes on answering pings.
    pub fn create(
        module: AgentModuleV1_Ref,
        settings: Box<RawValue>,
        concurrency: u32,
        calls: Calls,
        outbox: Arc<Outbox>,
    ) -> Arc<Self> {
        let calls = Arc::new(calls);
        let state = Mutex::new(State { threads: 1, ..State::default() });
        let agent = Arc::new(Self { outbox, calls, concurrency, state, work: Condvar::new() });
        let first = agent.clone();
        spawn(move || {
            first.start(module, &settings);
            first.serve();
        });
        agent
    }

    /// A task for one of the threads. The supervisor sends no two of one session at once.
    pub fn take(self: &Arc<Self>, id: TaskId, kind: String, message: Box<RawValue>) {
        self.push(Work::Handle { id, kind, message });
    }

    /// The answer to a call of the agent.
    pub fn answered(&self, call: u64, answer: CallAnswer) {
        if let Some(waiting) = self.calls.lock().remove(&call) {
            let _ = waiting.send(answer);
        }
    }

    /// Says what the agent knows, on a thread of its own: all others may be in handlers.
    pub fn snapshot(self: &Arc<Self>, seq: u64) {
        let this = self.clone();
        spawn(move || {
            // A supervisor asks only who is ready.
            let Some(agent) = this.lock().agent.clone() else { return };
            let outcome = called(&agent, kinds::SNAPSHOT, b"null");
            if !this.outbox.send_when_room(&FromHost::Snapshot { seq, outcome }) {
                let outcome = Err(AgentError::failed("its state is over the limit of a frame, 8 MiB"));
                this.outbox.send_when_room(&FromHost::Snapshot { seq, outcome });
            }
        });
    }

    /// Tells the agent what its predecessor knew, before it gets tasks.
    pub fn restore(self: &Arc<Self>, state: Box<RawValue>) {
        self.push(Work::Restore { state });
    }

    /// Says good-bye and ends the process.
    pub fn stop(self: &Arc<Self>) {
        self.push(Work::Stop);
    }

    fn push(self: &Arc<Self>, work: Work) {
        let mut state = self.lock();
        state.tasks.push_back(work);
        if state.idle as usize >= state.tasks.len() || state.threads >= self.concurrency {
            drop(state);
            self.work.notify_one();
        } else {
            state.threads += 1;
            drop(state);
            let more = self.clone();
            spawn(move || more.serve());
        }
    }

    fn start(&self, module: AgentModuleV1_Ref, settings: &RawValue) {
        let host = HostObjectV1_TO::from_value(Door(self.calls.clone()), TD_Opaque);
        let made = (module.create())(host, settings.get().as_bytes().into());
        let agent = match made {
            RResult::ROk(agent) => agent,
            RResult::RErr(error) => {
                let error = read_error(&error);
                if error.class == ErrorClass::Panic {
                    self.panicked(error.message);
                }
                let why = format!("the agent refuses its settings: {}", error.message);
                self.outbox.send_when_room(&FromHost::Refused { why });
                self.outbox.flush();
                end(EXIT_REFUSED);
            }
        };
        if let Err(error) = called(&agent, kinds::START, b"null") {
            if error.class == ErrorClass::Panic {
                self.panicked(error.message);
            }
            self.outbox.send_when_room(&FromHost::StartFailed { why: error.message });
            self.outbox.flush();
            end(1);
        }
        self.lock().agent = Some(Arc::new(agent));
        self.outbox.send_when_room(&FromHost::Ready);
    }

    fn serve(&self) {
        loop {
            let (agent, work) = self.next();
            match work {
                Work::Handle { id, kind, message } => self.handle(&agent, id, &kind, &message),
                Work::Restore { state } => {
                    let outcome = called(&agent, kinds::RESTORE, state.get().as_bytes()).map(drop);
                    self.outbox.send_when_room(&FromHost::Restored { outcome });
                }
                Work::Stop => {
                    let _ = called(&agent, kinds::STOP, b"null");
                    self.outbox.flush();
                    end(0);
                }
            }
        }
    }

    fn next(&self) -> (Arc<BoxedAgent>, Work) {
        let mut state = self.lock();
        loop {
            if let Some(agent) = state.agent.clone()
                && let Some(work) = state.tasks.pop_front()
            {
                return (agent, work);
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn handle(&self, agent: &BoxedAgent, id: TaskId, kind: &str, message: &RawValue) {
        let began = Instant::now();
        let outcome = called(agent, kind, message.get().as_bytes());
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let panic = match &outcome {
            Err(error) if error.class == ErrorClass::Panic => Some(error.message.clone()),
            _ => None,
        };
        if !self.outbox.send_when_room(&FromHost::Done { id, outcome, micros }) {
            let error = AgentError::invalid("the reply is over the limit of a frame, 8 MiB");
            self.outbox.send_when_room(&FromHost::Done { id, outcome: Err(error), micros });
        }
        if let Some(message) = panic {
            self.panicked(message);
        }
    }

    /// What a panic left behind cannot be trusted: the supervisor starts anew.
    fn panicked(&self, message: String) -> ! {
        self.outbox.send_when_room(&FromHost::Panicked { message });
        self.outbox.flush();
        end(EXIT_PANIC)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(body: impl FnOnce() + Send + 'static) {
    // Without a thread there is no agent: the supervisor sees the exit and its reason on stderr.
    if let Err(error) = thread::Builder::new().name("agent".into()).spawn(body) {
        eprintln!("no thread for the agent: {error}");
        end(71);
    }
}

fn called(agent: &BoxedAgent, kind: &str, payload: &[u8]) -> Result<Box<RawValue>, AgentError> {
    match agent.handle(kind.into(), payload.into()) {
        RResult::ROk(answer) => serde_json::from_slice(&answer)
            .map_err(|error| AgentError::failed(format!("the agent's answer is no JSON: {error}"))),
        RResult::RErr(error) => Err(read_error(&error)),
    }
}

fn read_error(bytes: &[u8]) -> AgentError {
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| AgentError::failed("the agent failed, and its error does not read"))
}

/// Calls of the agent that wait for the supervisor's answer.
pub struct Calls {
    outbox: Arc<Outbox>,
    log: Mutex<Throttle>,
    /// Whether the time is the daemon's to say.
    ask_time: bool,
    waiting: Mutex<HashMap<u64, SyncSender<CallAnswer>>>,
    next: AtomicU64,
}

impl Calls {
    pub fn new(outbox: Arc<Outbox>, log_rate: u32, ask_time: bool) -> Self {
        let log = Mutex::new(Throttle::new(log_rate));
        Self { outbox, log, ask_time, waiting: Mutex::default(), next: AtomicU64::new(1) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, SyncSender<CallAnswer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, method: &str, payload: &[u8]) -> Result<Vec<u8>, CallError> {
        let wrong = |text: String| CallError::new(CallErrorKind::Invalid, text);
        match method {
            methods::LOG => self.log(payload).map(|()| b"null".to_vec()),
            methods::NOW if !self.ask_time => {
                serde_json::to_vec(&Utc::now()).map_err(|error| wrong(error.to_string()))
            }
            _ => {
                let payload: Box<RawValue> = serde_json::from_slice(payload)
                    .map_err(|error| wrong(format!("the payload of `{method}` is no JSON: {error}")))?;
                let call = self.next.fetch_add(1, Ordering::Relaxed);
                let (sender, receiver) = sync_channel(1);
                self.lock().insert(call, sender);
                if !self.outbox.send_when_room(&FromHost::Call { call, method: method.into(), payload }) {
                    self.lock().remove(&call);
                    return Err(wrong(format!(
                        "the payload of `{method}` is over the limit of a frame, 8 MiB"
                    )));
                }
                let gone = |_| CallError::new(CallErrorKind::Failed, "the daemon is gone");
                receiver.recv().map_err(gone)?.map(|answer| answer.get().into())
            }
        }
    }

    fn log(&self, payload: &[u8]) -> Result<(), CallError> {
        #[derive(Deserialize)]
        struct Line {
            level: Level,
            text: String,
            task_id: Option<String>,
        }
        let line: Line = serde_json::from_slice(payload).map_err(|error| {
            CallError::new(CallErrorKind::Invalid, format!("no line for the log: {error}"))
        })?;
        let allowed = self.log.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        let Some(dropped) = allowed else { return Ok(()) };
        if dropped > 0 {
            let text = format!("{dropped} lines were dropped: over log_rate");
            self.outbox.send_when_room(&FromHost::Log { level: Level::Warn, text, task: None });
        }
        // A line longer than a frame is nobody's loss.
        self.outbox.send_when_room(&FromHost::Log { level: line.level, text: line.text, task: line.task_id });
        Ok(())
    }
}

/// The host's door in the ABI.
struct Door(Arc<Calls>);

impl HostObjectV1 for Door {
    fn call(&self, method: RStr<'_>, payload: RSlice<'_, u8>) -> Answer {
        match self.0.call(method.as_str(), payload.as_slice()) {
            Ok(answer) => RResult::ROk(answer.into()),
            Err(error) => RResult::RErr(serde_json::to_vec(&error).unwrap_or_default().into()),
        }
    }
}
