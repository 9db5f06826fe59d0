//! One host's life, from its spawn to its reaping: the only task that speaks to it.
//!
//! It carries out what the supervisor orders, gives the host tasks as the supervisor limits them, watches pings and
//! handlers, and reports. It decides nothing about restarts.

mod calls;
mod contract;
mod ending;
mod line;
mod memory;
pub(crate) mod pump;
mod recording;
mod schedule;
mod supply;
mod work;

use std::time::Duration;

use nix::sys::signal::Signal;
use openclaw_agent_api::agent::ErrorClass;
use openclaw_agent_api::context::{CallError, CallErrorKind, Level};
use openclaw_agent_api::manifest::{Manifest, Schedule};
use serde_json::value::RawValue;
use settings::Supervision;
use store::failpoint::{Boundary, reach, reach_now};
use store::task::{LeasedTask, TaskId};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::manifest_check;
use crate::policy::{Exit, ExitClass};
use crate::process::Process;
use crate::record::Try;
use crate::sandbox::{InForce, Seat};
use crate::wire::{Decoder, FromHost, ToHost};
use calls::{Answer, Calls};
pub use contract::{
    Assignment, End, InstanceId, Order, Report, Reporter, SharedVitals, Surroundings, Vitals, vitals,
};
use ending::{Ended, Stop};
use line::Line;
use pump::Behalf;
pub(crate) use pump::Log;
use recording::Recording;
use supply::{Leftover, Supply};
use work::{Rules, Work};

/// What is read of a host before anything else has its turn: 16 chunks of 16 KiB.
const CHUNKS: usize = 16;
/// After a host's death, how long its last words are waited for: a grandchild may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(50);

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

/// Something that was begun on the side.
enum Side {
    Renewed { lost: Vec<TaskId> },
    Slot { index: usize },
}

struct Instance {
    assignment: Assignment,
    around: Surroundings,
    line: Line,
    sandbox: Seat,
    decoder: Decoder,
    supply: Supply,
    work: Work,
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

struct Ping {
    seq: u64,
    sent_at: Instant,
    answered: bool,
}

enum Wake {
    Socket { readable: bool },
    Gone,
    Order(Option<Order>),
    Supplied(Option<LeasedTask>),
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
            supply: Supply::new(assignment.name.clone(), around.store.clone()),
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
            line: Line::new(socket),
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
        instance.line.send(&open);
        instance.live_on();
        instance
    }

    /// Tells the host how long it may live without hearing of us.
    fn live_on(&mut self) {
        let until = *self.around.led_until.borrow_and_update();
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            self.line.send(&ToHost::Live { ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX) });
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
            self.supply.ask(self.work.len());
            self.line.write(!self.work.is_empty());
            match self.wait(&process, &mut orders).await {
                Wake::Gone => break false,
                Wake::Socket { readable } => {
                    if readable && !self.read().await {
                        break true;
                    }
                }
                Wake::Order(order) => self.order(order, &process),
                Wake::Supplied(task) => self.deliver(task),
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
            let last = async { while self.line.socket().readable().await.is_ok() && self.read().await {} };
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
        let alarm = self.next_alarm();
        tokio::select! {
            ready = self.line.ready() => ready.map_or(Wake::Gone, |readable| Wake::Socket { readable }),
            () = process.ended() => Wake::Gone,
            order = orders.recv() => Wake::Order(order),
            task = self.supply.next() => Wake::Supplied(task),
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
            match self.sandbox.read(self.line.socket(), &mut chunk) {
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
            FromHost::Snapshot { seq, outcome } if seq == self.snapshots && self.supply.limit() == 0 => {
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
            self.line.send(&ToHost::Stop);
            return;
        }
        match serde_json::value::to_raw_value(settings) {
            Ok(settings) => self.line.send(&ToHost::Create { settings }),
            Err(error) => self.ended = Some(Ended::Refused(format!("its settings are no JSON: {error}"))),
        }
        let due = |schedule: &&Schedule| schedule.applies(&self.assignment.settings);
        self.schedules = manifest.schedules.iter().filter(due).cloned().collect();
        self.report(Report::Manifest(manifest)).await;
    }

    fn call(&mut self, call: u64, method: String, payload: &RawValue) {
        if let Some(recording) = &mut self.recording {
            recording.asked(call, &method, payload, |task| self.work.has(task));
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
        self.line.send(&ToHost::Answer { call, answer });
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
                self.line.send(&ToHost::Snapshot { seq: self.snapshots });
            }
            Some(Order::Restore(state)) => self.line.send(&ToHost::Restore { state }),
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
        self.supply.set_limit(limit);
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
        if self.stop.is_asked() {
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

    fn deliver(&mut self, task: Option<LeasedTask>) {
        let mut next = task;
        while let Some(task) = next {
            match self.work.adopt(task) {
                None => {}
                // It was leased before the limit sank.
                Some(task) if self.work.len() >= self.supply.limit() => self.supply.release(task),
                Some(task) => self.hand_over(task),
            }
            next = self.supply.try_next();
        }
    }

    fn hand_over(&mut self, task: LeasedTask) {
        reach_now(Boundary::Delivering);
        let message = match self.work.message(&task) {
            Ok(message) => message,
            Err(error) => return self.work.unsent(task, format!("its payload does not read: {error}")),
        };
        let tried = self.recording.is_some().then(|| (self.tried(&task, &message), message.get().len()));
        let frame = ToHost::Task { id: task.id, kind: task.kind.clone(), message };
        match self.line.try_send(&frame) {
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

    /// A drain whose handlers have all ended asks the host to stop.
    fn next_step(&mut self) {
        if matches!(self.stop, Stop::Draining) && self.work.is_empty() && self.supply.is_settled() {
            self.line.send(&ToHost::Stop);
            self.stop = Stop::Asked;
        }
    }

    async fn alarm(&mut self, process: &Process) {
        let now = Instant::now();
        let Supervision { ping_interval, ping_timeout, handler_timeout, memory_limit, .. } =
            self.assignment.config;
        if self.ping.answered && now >= self.ping.sent_at + ping_interval {
            self.ping = Ping { seq: self.ping.seq + 1, sent_at: now, answered: false };
            self.line.send(&ToHost::Ping { seq: self.ping.seq, pad: String::new() });
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
        let told_to = self.stop.is_asked();
        let exit = self.ended.as_ref().and_then(|ended| ended.exit(told_to, now)).unwrap_or(status);
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
        let leftover = self.supply.end();
        match self.ended {
            Some(Ended::Refused(why)) => (End::Refused(why), leftover),
            _ => (End::Exited(exit), leftover),
        }
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
