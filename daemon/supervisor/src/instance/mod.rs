//! One host's life, from its spawn to its reaping: the only task that speaks to it.
//!
//! It carries out what the supervisor orders, gives the host tasks as the supervisor limits them, watches pings and
//! handlers, and reports. It decides nothing about restarts.

mod calls;
mod memory;
pub(crate) mod pump;
mod recording;
mod schedule;
mod work;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::agent::ErrorClass;
use openclaw_agent_api::context::{CallError, CallErrorKind, Level};
use openclaw_agent_api::manifest::{Manifest, Schedule};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use settings::{Supervision, Tasks};
use store::clock::Clock;
use store::failpoint::{Boundary, reach, reach_now};
use store::task::{LeasedTask, TaskId};
use store::{Consumer, Store};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::admission::Admission;
use crate::capabilities::SharedCapabilities;
use crate::known::Known;
use crate::library::Libraries;
use crate::logs::Logs;
use crate::manifest_check;
use crate::policy::{Call, Exit, ExitClass};
use crate::process::{Process, Program};
use crate::record::{Recorder, Try};
use crate::sandbox::{InForce, Seat};
use crate::wire::{self, Decoder, FromHost, ToHost};
use calls::{Answer, Calls};
use pump::Behalf;
pub(crate) use pump::Log;
use recording::Recording;
use work::{Rules, Work};

/// What is read of a host before anything else has its turn: 16 chunks of 16 KiB.
const CHUNKS: usize = 16;
/// After a host's death, how long its last words are waited for: a grandchild may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Everything a host is started from.
#[derive(Clone)]
pub struct Assignment {
    /// The agent.
    pub name: AgentName,
    /// Its library: the copy in the vault.
    pub library: PathBuf,
    /// Where the operator knows it from.
    pub shown: PathBuf,
    /// What applies to it.
    pub config: Supervision,
    /// What it may ask for.
    pub grants: Vec<String>,
    /// Its own settings.
    pub settings: Value,
    /// Its working folder.
    pub workspace: PathBuf,
    /// The agents that work can be handed to.
    pub known: Known,
    /// How often it may ask for what, and what it has asked for.
    pub admission: Arc<Admission>,
}

/// What every host needs of the daemon.
#[derive(Clone)]
pub struct Surroundings {
    /// The binary of a host.
    pub program: Program,
    /// The lock that every host holds.
    pub lock: PathBuf,
    /// What people sent, which every agent may read.
    pub uploads: PathBuf,
    /// How tasks are retried.
    pub tasks: Tasks,
    /// Where tasks come from and results go.
    pub store: Store,
    /// Who answers the agents' calls.
    pub capabilities: SharedCapabilities,
    /// Where their lines go.
    pub logs: Logs,
    /// The time.
    pub clock: Clock,
    /// The private store of libraries.
    pub libraries: Arc<Libraries>,
    /// Until when agents are led here, where that is known for a time alone.
    pub led_until: watch::Receiver<Option<Instant>>,
    /// What keeps what agents are told, where that is wanted.
    pub recorder: Option<Recorder>,
}

/// Tells the instances of one supervisor apart: while an agent is replaced it has two.
pub type InstanceId = u64;

/// Supervisor → instance.
#[derive(Debug)]
pub enum Order {
    /// Have so many tasks at once.
    Limit(u32),
    /// Have no more tasks, and ask the agent what it knows.
    HandOver,
    /// Tell the agent what its predecessor knew.
    Restore(Box<RawValue>),
    /// Let handlers end, then ask the host to stop.
    Drain,
    /// As `Limit(0)` and `Drain`, and `Kill` then.
    Retire(Instant),
    /// SIGTERM, after the grace SIGKILL.
    Kill,
}

/// Instance → supervisor.
#[derive(Debug)]
pub enum Report {
    /// The library is open.
    Manifest(Box<Manifest>),
    /// What holds the host.
    Sandboxed(InForce),
    /// It takes tasks.
    Ready,
    /// It does not answer, or a handler does not end.
    Hang {
        /// What was waited for.
        what: String,
    },
    /// A task has ended.
    TaskEnded(Call),
    /// What the agent knows. It gets no more tasks: its successor may attach.
    Snapshot(Result<Box<RawValue>, String>),
    /// Whether the agent could make something of what its predecessor knew.
    Restored(Result<(), String>),
    /// The process is gone and reaped: the last report.
    Ended(End),
}

/// How a host's life ended.
#[derive(Debug)]
pub enum End {
    /// It exited, or was killed.
    Exited(Exit),
    /// It can never work like this.
    Refused(String),
}

/// What an instance last proved; read by status.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Vitals {
    /// The host's number.
    pub pid: Option<u32>,
    /// When it was started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it last answered a ping.
    pub pong_at: Option<DateTime<Utc>>,
    /// When it last finished a task.
    pub done_at: Option<DateTime<Utc>>,
    /// Tasks in work.
    pub running: u32,
    /// The oldest of them.
    pub oldest_task: Option<TaskId>,
    /// Since when that is in work.
    pub oldest_since: Option<DateTime<Utc>>,
    /// What the sandbox refused this host.
    pub violations: u64,
}

/// As it is shared.
pub type SharedVitals = Arc<Mutex<Vitals>>;

/// Reads or changes vitals.
pub fn vitals(shared: &SharedVitals) -> MutexGuard<'_, Vitals> {
    // Plain values, each written whole: a poisoned lock is still good.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How an instance reports.
#[derive(Clone)]
pub struct Reporter {
    /// Which instance it is.
    pub id: InstanceId,
    /// To the supervisor.
    pub reports: mpsc::Sender<(InstanceId, Report)>,
}

impl Reporter {
    async fn report(&self, report: Report) {
        // The supervisor outlives its instances, but for a stop that does not wait.
        let _ = self.reports.send((self.id, report)).await;
    }
}

/// Runs one host to its end. The reports end with [`Report::Ended`].
pub async fn run(
    assignment: Assignment,
    around: Surroundings,
    orders: mpsc::Receiver<Order>,
    reporter: Reporter,
    shared: SharedVitals,
) {
    let name = assignment.name.clone();
    let (end, leftover) = match Process::spawn(&around.program, name.as_str(), &assignment.workspace) {
        Ok((process, streams)) => {
            let log = Log::new(name.clone(), around.logs.clone(), assignment.config.log_rate, around.clock);
            let mut pumps = JoinSet::new();
            pumps.spawn(pump::pump(streams.stdout, "stdout", Level::Info, log.clone()));
            pumps.spawn(pump::pump(streams.stderr, "stderr", Level::Warn, log.clone()));
            {
                let mut vitals = vitals(&shared);
                (vitals.pid, vitals.started_at) = (Some(process.pid()), Some(around.clock.now()));
            }
            let instance =
                Instance::new(assignment, around, streams.socket, log, reporter.clone(), shared.clone());
            let (end, leftover) = instance.live(process, pumps, orders).await;
            (end, leftover)
        }
        Err(error) => {
            let detail = format!("no host could be started: {error}");
            (End::Exited(Exit::new(ExitClass::NotStarted, detail, around.clock.now())), None)
        }
    };
    *vitals(&shared) = Vitals::default();
    reporter.report(Report::Ended(end)).await;
    // Only now: a successor must not wait for this.
    if let Some(leftover) = leftover {
        leftover.give_back().await;
    }
}

/// What was leased for a host and never reached it. The credit was taken back before the successor's consumer
/// attached, so this ends with the engine's next turn.
struct Leftover {
    done: oneshot::Receiver<()>,
    consumer: Consumer,
    store: Store,
}

impl Leftover {
    async fn give_back(mut self) {
        let _ = self.done.await;
        while let Some(task) = self.consumer.try_next() {
            self.store.release(task);
        }
    }
}

/// Something that was begun on the side.
enum Side {
    Renewed { lost: Vec<TaskId> },
    Slot { index: usize },
}

struct Instance {
    assignment: Assignment,
    around: Surroundings,
    socket: UnixStream,
    sandbox: Seat,
    decoder: Decoder,
    out: Vec<u8>,
    /// From the first limit on: a canary must not take its predecessor's place.
    consumer: Option<Consumer>,
    work: Work,
    limit: u32,
    credited: u32,
    /// Credit is being taken back; until that is through none is given.
    withdrawing: Option<oneshot::Receiver<()>>,
    stop: Stop,
    /// A retirement's deadline.
    retire_at: Option<Instant>,
    /// How often the agent was asked what it knows.
    snapshots: u64,
    side: JoinSet<Side>,
    calls: Calls,
    schedules: Vec<Schedule>,
    /// Whether they have begun.
    scheduled: bool,
    ping: Ping,
    renew_at: Instant,
    /// What it said of its own end.
    ended: Option<Ended>,
    log: Log,
    recording: Option<Recording>,
    reporter: Reporter,
    shared: SharedVitals,
}

/// How far a host is on its way out.
enum Stop {
    No,
    /// Handlers end, then it is asked to stop.
    Draining,
    /// It was asked.
    Asked,
    /// It got SIGTERM; SIGKILL follows then.
    Killed {
        at: Instant,
    },
}

enum Ended {
    Refused(String),
    Failed(String),
    /// The daemon cannot watch it: it is let go of, and another is tried later.
    Unwatched(String),
    OutOfMemory(String),
    Panicked(String),
    Hung(String),
}

struct Ping {
    seq: u64,
    sent_at: Instant,
    answered: bool,
}

enum Wake {
    Socket { readable: bool },
    Gone,
    Order(Option<Order>),
    Task(LeasedTask),
    Withdrawn,
    Side(Result<Side, JoinError>),
    Answered(u64, Answer),
    Led,
    Alarm,
}

impl Instance {
    fn new(
        assignment: Assignment,
        around: Surroundings,
        socket: UnixStream,
        log: Log,
        reporter: Reporter,
        shared: SharedVitals,
    ) -> Self {
        let now = Instant::now();
        let rules = Rules {
            agent: assignment.name.clone(),
            config: assignment.config.clone(),
            tasks: around.tasks.clone(),
            known: assignment.known.clone(),
            store: around.store.clone(),
        };
        let renew_at = now + around.tasks.lease / 3;
        let mut instance = Self {
            work: Work::new(rules),
            sandbox: Seat::default(),
            decoder: Decoder::default(),
            out: Vec::new(),
            limit: 0,
            credited: 0,
            withdrawing: None,
            stop: Stop::No,
            side: JoinSet::new(),
            calls: Calls::new(&assignment, &around),
            schedules: Vec::new(),
            scheduled: false,
            retire_at: None,
            snapshots: 0,
            ping: Ping { seq: 0, sent_at: now, answered: true },
            ended: None,
            recording: around.recorder.clone().map(Recording::new),
            assignment,
            around,
            socket,
            consumer: None,
            renew_at,
            log,
            reporter,
            shared,
        };
        let open = ToHost::Open {
            library: instance.assignment.library.clone(),
            shown: instance.assignment.shown.clone(),
            concurrency: instance.assignment.config.concurrency,
            memory_limit: instance.assignment.config.memory_limit.bytes(),
            log_rate: instance.assignment.config.log_rate,
            lock: instance.around.lock.clone(),
            sandbox: instance.assignment.config.sandbox,
            workspace: instance.assignment.workspace.clone(),
            ask_time: instance.recording.is_some(),
            uploads: instance.around.uploads.clone(),
        };
        instance.send(&open);
        instance.live_on();
        instance
    }

    /// Tells the host how long it may live without hearing of us.
    fn live_on(&mut self) {
        let until = *self.around.led_until.borrow_and_update();
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            self.send(&ToHost::Live { ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) });
        }
    }

    async fn live(
        mut self,
        process: Process,
        mut pumps: JoinSet<()>,
        mut orders: mpsc::Receiver<Order>,
    ) -> (End, Option<Leftover>) {
        self.sandbox = Seat::of(process.pid());
        let heard_out = loop {
            reach(Boundary::InstanceTurn).await;
            self.give_credit();
            self.write();
            match self.wait(&process, &mut orders).await {
                Wake::Gone => break false,
                Wake::Socket { readable } => {
                    if readable && !self.read().await {
                        break true;
                    }
                }
                Wake::Order(order) => self.order(order, &process),
                Wake::Task(task) => self.deliver(task),
                Wake::Withdrawn => self.withdrawn(),
                Wake::Side(side) => self.finished(side),
                Wake::Answered(call, answer) => self.answer(call, answer),
                Wake::Led => self.live_on(),
                Wake::Alarm => self.alarm(&process).await,
            }
            self.next_step();
            self.show();
        };
        let (code, signal) = process.reap().await;
        if !heard_out {
            // Its end may be seen before what it said of it: a result, a refusal, a panic.
            let last = async { while self.socket.readable().await.is_ok() && self.read().await {} };
            let _ = tokio::time::timeout(LAST_WORDS, last).await;
        }
        let heard = async {
            while pumps.join_next().await.is_some() {}
            self.sandbox.told().await;
        };
        let _ = tokio::time::timeout(LAST_WORDS, heard).await;
        self.end(code, signal)
    }

    async fn wait(&mut self, process: &Process, orders: &mut mpsc::Receiver<Order>) -> Wake {
        let interest =
            if self.out.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        let alarm = self.next_alarm();
        let withdrawn = async {
            match &mut self.withdrawing {
                Some(done) => drop(done.await),
                None => std::future::pending().await,
            }
        };
        let leased = async {
            match &mut self.consumer {
                Some(consumer) => consumer.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.socket.ready(interest) => match ready {
                Ok(ready) => Wake::Socket { readable: ready.is_readable() || ready.is_read_closed() },
                Err(_) => Wake::Gone,
            },
            () = process.ended() => Wake::Gone,
            order = orders.recv() => Wake::Order(order),
            // None says that the store has ended: nothing comes any more.
            Some(task) = leased => Wake::Task(task),
            () = withdrawn => Wake::Withdrawn,
            Ok(()) = self.around.led_until.changed() => Wake::Led,
            Some(side) = self.side.join_next() => Wake::Side(side),
            (call, answer) = self.calls.next() => Wake::Answered(call, answer),
            () = tokio::time::sleep_until(alarm) => Wake::Alarm,
        }
    }

    fn next_alarm(&self) -> Instant {
        let config = &self.assignment.config;
        let ping = if self.ping.answered {
            self.ping.sent_at + config.ping_interval
        } else {
            self.ping.sent_at + config.ping_timeout
        };
        let kill = if let Stop::Killed { at } = self.stop { Some(at) } else { None };
        let renew = (!self.work.is_empty()).then_some(self.renew_at);
        let work = [self.work.deadline(), renew, kill, self.retire_at, self.calls.leave_at()];
        work.into_iter().flatten().fold(ping, Instant::min)
    }

    /// False: the host is gone.
    async fn read(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        // A host that writes without end must not keep its instance from orders and alarms.
        for _ in 0..CHUNKS {
            match self.sandbox.read(&self.socket, &mut chunk) {
                Ok(0) => return false,
                Ok(read) => self.decoder.extend(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
            loop {
                match self.decoder.frame::<FromHost>() {
                    Ok(Some(message)) => {
                        self.heard(message).await;
                        // Its calls fail without a watch: what it says of that would be held against its library.
                        if matches!(self.ended, Some(Ended::Unwatched(_))) {
                            return false;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.ended =
                            Some(Ended::Failed(format!("the host wrote garbage on its socket: {error}")));
                        return false;
                    }
                }
            }
        }
        true
    }

    async fn heard(&mut self, message: FromHost) {
        match message.redacted(self.around.logs.redactor()) {
            FromHost::Sandboxed { sandbox } => self.sandboxed(sandbox).await,
            FromHost::Hello { manifest } => self.hello(manifest).await,
            FromHost::Ready => self.report(Report::Ready).await,
            FromHost::Refused { why } => self.ended = Some(Ended::Refused(why)),
            FromHost::StartFailed { why } => {
                self.ended = Some(Ended::Failed(format!("the agent did not start: {why}")));
            }
            FromHost::Pong { seq, .. } => {
                self.ping.answered |= seq == self.ping.seq;
                vitals(&self.shared).pong_at = Some(self.around.clock.now());
            }
            FromHost::Done { id, outcome, micros } => {
                reach_now(Boundary::Handled);
                let panicked = matches!(&outcome, Err(error) if error.class == ErrorClass::Panic);
                if let Some(recording) = &self.recording {
                    recording.end(id, &outcome);
                }
                let call = self.work.done(
                    id,
                    outcome,
                    Duration::from_micros(micros),
                    &mut self.calls,
                    self.around.clock.now(),
                );
                vitals(&self.shared).done_at = Some(self.around.clock.now());
                // A panic is counted as the host's end.
                if let (Some(call), false) = (call, panicked) {
                    self.report(Report::TaskEnded(call)).await;
                }
            }
            FromHost::Call { call, method, payload } => self.call(call, method, &payload),
            // One that comes late is of a hand-over that has failed.
            FromHost::Snapshot { seq, outcome } if seq == self.snapshots && self.limit == 0 => {
                let outcome = outcome.map_err(|error| error.message);
                self.report(Report::Snapshot(outcome)).await;
            }
            FromHost::Snapshot { .. } => {}
            FromHost::Restored { outcome } => {
                let outcome = outcome.map_err(|error| error.message);
                self.report(Report::Restored(outcome)).await;
            }
            FromHost::Log { level, text, task } => {
                let session = task.as_deref().and_then(|id| self.work.session(&id.parse().ok()?));
                self.log.write(level, "log", Behalf { task, session }, text);
            }
            FromHost::Panicked { message } => self.ended = Some(Ended::Panicked(message)),
        }
    }

    async fn sandboxed(&mut self, sandbox: InForce) {
        let Assignment { library, workspace, .. } = &self.assignment;
        match self.sandbox.take(&sandbox, [library, &self.around.uploads], workspace, &self.log, &self.shared)
        {
            Ok(true) => self.report(Report::Sandboxed(sandbox)).await,
            // Once: later it would be the agent that speaks.
            Ok(false) => {}
            Err(why) => self.ended = Some(Ended::Unwatched(why)),
        }
    }

    async fn hello(&mut self, manifest: Box<Manifest>) {
        let Assignment { name, grants, settings, .. } = &self.assignment;
        if let Err(why) = manifest_check::check(name, grants, settings, &manifest) {
            self.ended = Some(Ended::Refused(why));
            self.send(&ToHost::Stop);
            return;
        }
        match serde_json::value::to_raw_value(settings) {
            Ok(settings) => self.send(&ToHost::Create { settings }),
            Err(error) => self.ended = Some(Ended::Refused(format!("its settings are no JSON: {error}"))),
        }
        let due = |schedule: &&Schedule| schedule.applies(&self.assignment.settings);
        self.schedules = manifest.schedules.iter().filter(due).cloned().collect();
        self.report(Report::Manifest(manifest)).await;
    }

    fn call(&mut self, call: u64, method: String, payload: &RawValue) {
        if let Some(recording) = &mut self.recording {
            recording.asked(call, &method, payload);
        }
        if let Some(answer) = self.calls.begin(call, method, payload) {
            self.answer(call, answer);
        }
    }

    fn answer(&mut self, call: u64, answer: Answer) {
        let failed = |error: serde_json::Error| CallError::new(CallErrorKind::Failed, error.to_string());
        let answer = answer.and_then(|value| serde_json::value::to_raw_value(&value).map_err(failed));
        if let Some(recording) = &mut self.recording {
            recording.answered(call, &answer);
        }
        self.send(&ToHost::Answer { call, answer });
    }

    fn finished(&mut self, side: Result<Side, JoinError>) {
        match side {
            Err(error) => tracing::error!(agent = %self.assignment.name, %error, "a defect of the daemon"),
            Ok(Side::Renewed { lost }) => {
                for task in lost {
                    let session = self.work.session(&task);
                    tracing::warn!(agent = %self.assignment.name, task_id = %task, session, "its lease is lost; its result will be refused");
                }
            }
            Ok(Side::Slot { index }) => self.schedule(index),
        }
    }

    fn order(&mut self, order: Option<Order>, process: &Process) {
        match order {
            Some(Order::Limit(limit)) => self.limit(limit),
            Some(Order::HandOver) => {
                self.limit(0);
                self.snapshots += 1;
                self.send(&ToHost::Snapshot { seq: self.snapshots });
            }
            Some(Order::Restore(state)) => self.send(&ToHost::Restore { state }),
            Some(Order::Drain) => self.stop = Stop::Draining,
            Some(Order::Retire(deadline)) => {
                self.limit(0);
                self.stop = Stop::Draining;
                self.retire_at = Some(deadline);
            }
            Some(Order::Kill) => self.kill(process),
            // The supervisor is gone without a word: so is its right to keep a host.
            None => process.signal(Signal::SIGKILL),
        }
    }

    fn limit(&mut self, limit: u32) {
        if limit > 0 && self.consumer.is_none() {
            self.consumer = Some(self.around.store.consumer(self.assignment.name.clone()));
        }
        if limit < self.limit {
            self.withdrawing = self.consumer.as_ref().map(Consumer::take_back);
        }
        self.limit = limit;
        if limit > 0 && !self.scheduled {
            self.scheduled = true;
            (0..self.schedules.len()).for_each(|index| self.schedule(index));
        }
    }

    fn kill(&mut self, process: &Process) {
        let grace = self.assignment.config.kill_grace;
        match self.stop {
            Stop::Killed { .. } => process.signal(Signal::SIGKILL),
            _ => {
                process.signal(Signal::SIGTERM);
                self.stop = Stop::Killed { at: Instant::now() + grace };
            }
        }
    }

    fn schedule(&mut self, index: usize) {
        // Its successor may have other schedules.
        if !matches!(self.stop, Stop::No) {
            return;
        }
        let Some(schedule) = self.schedules.get(index).cloned() else { return };
        let (store, clock, name) =
            (self.around.store.clone(), self.around.clock, self.assignment.name.clone());
        self.side.spawn(async move {
            if let Err(error) = schedule::slot(&store, clock, &name, &schedule).await {
                tracing::warn!(agent = %name, schedule = %schedule.name, %error, "a scheduled task was not stored");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Side::Slot { index }
        });
    }

    fn deliver(&mut self, task: LeasedTask) {
        let mut next = Some(task);
        while let Some(task) = next {
            self.credited = self.credited.saturating_sub(1);
            match self.work.adopt(task) {
                None => {}
                // It was leased before the limit sank.
                Some(task) if self.work.len() >= self.limit => self.around.store.release(task),
                Some(task) => self.hand_over(task),
            }
            next = self.try_next();
        }
    }

    fn try_next(&mut self) -> Option<LeasedTask> {
        self.consumer.as_mut().and_then(Consumer::try_next)
    }

    fn hand_over(&mut self, task: LeasedTask) {
        reach_now(Boundary::Delivering);
        let message = match self.work.message(&task) {
            Ok(message) => message,
            Err(error) => return self.work.unsent(task, format!("its payload does not read: {error}")),
        };
        let tried = self.recording.is_some().then(|| (self.tried(&task, &message), message.get().len()));
        let frame = ToHost::Task { id: task.id, kind: task.kind.clone(), message };
        match wire::encode(&frame, &mut self.out) {
            Ok(()) => {
                if let (Some(recording), Some((tried, size))) = (&self.recording, tried) {
                    recording.begin(tried, size);
                }
                if self.work.is_empty() {
                    self.renew_at = Instant::now() + self.around.tasks.lease / 3;
                }
                self.work.begin(task, Instant::now());
            }
            Err(error) => self.work.unsent(task, error.to_string()),
        }
    }

    /// The try, as it is recorded.
    fn tried(&self, task: &LeasedTask, message: &RawValue) -> Try {
        let Assignment { name, library, grants, settings, .. } = &self.assignment;
        Try {
            task_id: task.id,
            agent: name.clone(),
            kind: task.kind.clone(),
            attempt: task.attempts,
            message: serde_json::from_str(message.get()).unwrap_or_default(),
            settings: settings.clone(),
            grants: grants.clone(),
            library: library.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            at: self.around.clock.now(),
        }
    }

    fn give_credit(&mut self) {
        if let (None, Some(consumer)) = (&self.withdrawing, &self.consumer) {
            let more = self.limit.saturating_sub(self.work.len() + self.credited);
            consumer.credit(more);
            self.credited += more;
        }
    }

    fn withdrawn(&mut self) {
        self.withdrawing = None;
        while let Some(task) = self.try_next() {
            self.around.store.release(task);
        }
        self.credited = 0;
    }

    /// A drain whose handlers have all ended asks the host to stop.
    fn next_step(&mut self) {
        if matches!(self.stop, Stop::Draining) && self.work.is_empty() && self.withdrawing.is_none() {
            self.send(&ToHost::Stop);
            self.stop = Stop::Asked;
        }
    }

    async fn alarm(&mut self, process: &Process) {
        let now = Instant::now();
        let Supervision { ping_interval, ping_timeout, handler_timeout, memory_limit, .. } =
            self.assignment.config;
        if self.ping.answered && now >= self.ping.sent_at + ping_interval {
            self.ping = Ping { seq: self.ping.seq + 1, sent_at: now, answered: false };
            self.send(&ToHost::Ping { seq: self.ping.seq, pad: String::new() });
            if let Some(why) = memory::outgrown(process.pid(), memory_limit.bytes()) {
                self.ended = Some(Ended::OutOfMemory(why));
                process.signal(Signal::SIGKILL);
            }
        } else if !self.ping.answered && now >= self.ping.sent_at + ping_timeout {
            self.ping.sent_at = now;
            self.hang(format!("no answer to a ping within {}", settings::units::text(ping_timeout))).await;
        }
        if let Some(task) = self.work.overdue(now) {
            let limit = settings::units::text(handler_timeout);
            self.hang(format!("task {task} took longer than handler_timeout, {limit}")).await;
        }
        if !self.work.is_empty() && now >= self.renew_at {
            self.renew_at = now + self.around.tasks.lease / 3;
            let (store, leases) = (self.around.store.clone(), self.work.leases());
            self.side.spawn(async move { Side::Renewed { lost: store.renew(leases).await } });
        }
        if self.calls.leave_at().is_some_and(|at| now >= at) {
            self.calls.leave();
        }
        if self.retire_at.is_some_and(|at| now >= at) {
            self.retire_at = None;
            self.kill(process);
        }
        if let Stop::Killed { at } = self.stop
            && now >= at
        {
            process.signal(Signal::SIGKILL);
            self.stop = Stop::Killed { at: now + Duration::from_secs(1) };
        }
    }

    async fn hang(&mut self, what: String) {
        self.ended.get_or_insert(Ended::Hung(what.clone()));
        self.report(Report::Hang { what }).await;
    }

    fn end(mut self, code: Option<i32>, signal: Option<i32>) -> (End, Option<Leftover>) {
        let now = self.around.clock.now();
        self.log.close();
        let status = Exit::from_status(code, signal, &self.log.last_words(), now);
        let told_to = !matches!(self.stop, Stop::No);
        let exit = match &self.ended {
            Some(Ended::Panicked(message)) => Exit::new(ExitClass::Panic, message.clone(), now),
            Some(Ended::Failed(why)) => Exit::new(ExitClass::Error, why.clone(), now),
            Some(Ended::OutOfMemory(why)) => Exit::new(ExitClass::OutOfMemory, why.clone(), now),
            Some(Ended::Unwatched(why)) => Exit::new(ExitClass::NotStarted, why.clone(), now),
            Some(Ended::Hung(what)) if told_to => Exit::new(ExitClass::Hang, what.clone(), now),
            _ => status,
        };
        // Only an end by itself can be a task's fault. Of a panic that the host told of, the task has been put down
        // already; a library built with panic=abort ends without a word.
        let blame = format!("the agent ended while at work on it: {exit}");
        // A host that answers no ping names no culprit either.
        let silent = matches!(self.ended, Some(Ended::Hung(_))) && !self.work.any_overdue();
        let innocent = (told_to && !silent) || matches!(self.ended, Some(Ended::Panicked(_)));
        let hang = format!(
            "it took longer than handler_timeout, {}",
            settings::units::text(self.assignment.config.handler_timeout)
        );
        if let Some(recording) = &self.recording {
            recording.gone(self.work.leases().into_iter().map(|(task, _)| task));
        }
        self.work.abandon((!innocent).then_some(&blame), &hang, now);
        self.calls.end();
        let store = self.around.store;
        let leftover = self.consumer.map(|consumer| Leftover { done: consumer.take_back(), consumer, store });
        match self.ended {
            Some(Ended::Refused(why)) => (End::Refused(why), leftover),
            _ => (End::Exited(exit), leftover),
        }
    }

    fn send(&mut self, message: &ToHost) {
        // Too long can only be an answer: the agent is told that instead.
        if let (Err(error), ToHost::Answer { call, .. }) = (wire::encode(message, &mut self.out), message) {
            let answer =
                Err(CallError::new(CallErrorKind::Failed, format!("the answer is too long: {error}")));
            let _ = wire::encode(&ToHost::Answer { call: *call, answer }, &mut self.out);
        }
    }

    /// Writes what the socket takes; the rest when it is writable.
    fn write(&mut self) {
        while !self.out.is_empty() {
            match self.socket.try_write(&self.out) {
                Ok(written) => {
                    self.out.drain(..written);
                    if !self.work.is_empty() {
                        reach_now(Boundary::Delivered);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // The host is gone, which reading will tell. What is left for it must not keep this loop awake: it
                // would wait for nothing, and the runtime's one thread would never look.
                Err(_) => self.out.clear(),
            }
        }
        self.out.shrink_to(64 * 1024);
    }

    fn show(&self) {
        let mut vitals = vitals(&self.shared);
        vitals.running = self.work.len();
        let oldest = self.work.oldest();
        vitals.oldest_task = oldest.map(|(task, _)| task);
        vitals.oldest_since = oldest.map(|(_, since)| self.around.clock.now() - since.elapsed());
    }

    async fn report(&self, report: Report) {
        self.reporter.report(report).await;
    }
}
