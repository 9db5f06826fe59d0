//! What the policy has decided, carried out and told.

use chrono::TimeDelta;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Level;
use store::backend::{NewEvent, TRANSITION};
use tokio::sync::mpsc;

use super::Supervisor;
use super::slot::{Host, Lead};
use crate::alerts::{self, Topic};
use crate::instance::{self, Assignment, Order, Reporter, SharedVitals};
use crate::library::Hash;
use crate::logs::Line;
use crate::policy::{Action, Event, Exit, Transition, group};

/// Orders that wait for an instance; it takes them as they come.
const ORDERS: usize = 64;

impl Supervisor {
    pub(super) fn carry_out(&mut self, name: &AgentName, action: Action) {
        match action {
            Action::Spawn => self.spawn(name),
            Action::Drain { .. } => self.order(name, Order::Drain),
            Action::Kill => self.order(name, Order::Kill),
            Action::Limit(limit) => self.order(name, Order::Limit(limit)),
            Action::Canary(hash) => {
                let host = self.host(name, &hash);
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.canary = host;
                }
            }
            Action::EndCanary => {
                if let Some(slot) = self.slots.get_mut(name) {
                    slot.snapshot = None;
                    let canary = slot.canary.take();
                    slot.leave(canary, Order::Kill);
                }
            }
            Action::HandOver => self.order(name, Order::HandOver),
            Action::Restore => self.restore(name),
            Action::Swap { deadline } => {
                let deadline = self.around.clock.instant(deadline);
                if let Some(slot) = self.slots.get_mut(name) {
                    let old = std::mem::replace(&mut slot.serving, slot.canary.take());
                    slot.leave(old, Order::Retire(deadline));
                    if let Some(host) = &mut slot.serving {
                        (slot.manifest, slot.sandbox) = (host.manifest.take(), host.sandbox.take());
                    }
                }
                self.tidy(name);
            }
            Action::Retire { deadline } => {
                let deadline = self.around.clock.instant(deadline);
                if let Some(slot) = self.slots.get_mut(name) {
                    let old = slot.serving.take();
                    slot.leave(old, Order::Retire(deadline));
                }
            }
            Action::Judge { hash, verdict } => self.judge(name, &hash, verdict),
            Action::Postpone => self.postpone(name),
            Action::Answer(verdict) => self.verdict(name, verdict),
            Action::Alert(level, text) => self.alert_of_library(name, level, &text),
            Action::Note(transition) => self.note(name, transition),
            Action::Fell => {
                let group = self.groups.iter().find(|group| group.agents.contains(name));
                let fallen: Vec<_> = group
                    .map(|g| group::fallen_with(g, name).into_iter().cloned().collect())
                    .unwrap_or_default();
                for member in fallen {
                    self.decide(&member, Event::SiblingFell { name: name.to_string() });
                }
            }
        }
    }

    fn spawn(&mut self, name: &AgentName) {
        let Some(slot) = self.slots.get(name) else { return };
        let Some(hash) = slot.record.library.current.clone() else {
            let why = slot.nothing_to_run();
            return self.decide(name, Event::Refused { why });
        };
        let host = self.host(name, &hash);
        if let Some(slot) = self.slots.get_mut(name) {
            slot.serving = host;
        }
    }

    /// Starts a host of this library. It has no tasks before it is given a limit.
    fn host(&mut self, name: &AgentName, hash: &Hash) -> Option<Host> {
        let slot = self.slots.get(name)?;
        let (orders, waiting) = mpsc::channel(ORDERS);
        let library = self.around.libraries.path(hash);
        let (assignment, around) = (Assignment { library, ..slot.assignment.clone() }, self.around.clone());
        self.next_instance += 1;
        let id = self.next_instance;
        let (reporter, vitals) = (Reporter { id, reports: self.reporter.clone() }, SharedVitals::default());
        let task = self.instances.spawn(instance::run(assignment, around, waiting, reporter, vitals.clone()));
        self.tasks.insert(task.id(), id);
        self.whose.insert(id, name.clone());
        Some(Host { id, orders, vitals, manifest: None, sandbox: None })
    }

    /// Tells the canary what its predecessor knew, if that is anything.
    fn restore(&mut self, name: &AgentName) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        match (slot.snapshot.take(), &slot.canary) {
            (Some(state), Some(canary)) if state.get() != "null" => canary.order(name, Order::Restore(state)),
            _ => self.decide(name, Event::Restored { outcome: Ok(()) }),
        }
    }

    fn order(&self, name: &AgentName, order: Order) {
        if let Some(host) = self.slots.get(name).and_then(|slot| slot.serving.as_ref()) {
            host.order(name, order);
        }
    }

    pub(super) fn alert(&self, name: &AgentName, level: alerts::Level, topic: Topic, text: &str) {
        alerts::raise(&self.around.store, level, name, topic, text, self.around.clock.now());
    }

    /// What became of a library: that one runs, or that one does not.
    pub(super) fn alert_of_library(&self, name: &AgentName, level: alerts::Level, text: &str) {
        if level > alerts::Level::Info {
            return self.alert(name, level, Topic::Library, text);
        }
        alerts::over(&self.around.store, name, Topic::Library, text, self.around.clock.now());
        self.alert(name, level, Topic::Reloaded, text);
    }

    /// A state in which somebody must do something, and the end of it.
    fn alert_of_state(&self, name: &AgentName, to: &str, reason: &str) {
        match to {
            "open" => self.alert(
                name,
                alerts::Level::Critical,
                Topic::Breaker,
                &format!("its breaker is open: {reason}"),
            ),
            "refused" => {
                self.alert(name, alerts::Level::Critical, Topic::Refused, &format!("it cannot run: {reason}"))
            }
            "ready" => {
                let (store, now, text) =
                    (&self.around.store, self.around.clock.now(), format!("it is ready: {reason}"));
                for topic in [Topic::Breaker, Topic::Refused, Topic::Lead, Topic::Group] {
                    alerts::over(store, name, topic, &text, now);
                }
            }
            _ => {}
        }
    }

    /// Into the journal, the agent's log, the history and the record.
    pub(super) fn note(&mut self, name: &AgentName, transition: Transition) {
        let Transition { from, to, actor, reason, at } = &transition;
        let exit = self.slots.get(name).and_then(|slot| slot.record.last_exit.as_ref());
        // The end that the transition tells of: the instance saw it a moment before.
        let told = |exit: &&Exit| to != "ready" && from != "backoff" && *at - exit.at < TimeDelta::seconds(1);
        let exit_class = exit.filter(told).map(|exit| exit.class.to_string());
        // A wait that goes on for the same reason is one line of the history, not hundreds.
        if from == to && self.slots.get(name).is_some_and(|slot| slot.reason == *reason) {
            return;
        }
        self.alert_of_state(name, to, reason);
        let level = match to.as_str() {
            "open" | "refused" => Level::Error,
            "backoff" => Level::Warn,
            _ => Level::Info,
        };
        match level {
            Level::Error => {
                tracing::error!(agent = %name, event = "transition", exit_class, %actor, "{from} → {to}: {reason}")
            }
            Level::Warn => {
                tracing::warn!(agent = %name, event = "transition", exit_class, %actor, "{from} → {to}: {reason}")
            }
            _ => {
                tracing::info!(agent = %name, event = "transition", exit_class, %actor, "{from} → {to}: {reason}")
            }
        }
        let line = Line {
            at: *at,
            level,
            source: "supervisor".into(),
            task: None,
            text: format!("{from} → {to}: {reason}"),
        };
        self.around.logs.write(name, line);
        if let Ok(payload) = serde_json::to_string(&transition) {
            self.around.store.event(NewEvent { agent: name.clone(), kind: TRANSITION, payload, at: *at });
        }
        self.changed.send_modify(|count| *count += 1);
        if let Some(slot) = self.slots.get_mut(name) {
            slot.reason.clone_from(&transition.reason);
            slot.actor.clone_from(&transition.actor);
            // Where it is led elsewhere, what is known of it is known there.
            if slot.lead == Lead::Ours
                && let Ok(record) = serde_json::to_string(&slot.record)
            {
                self.around.store.record(name.clone(), record);
            }
        }
    }
}

impl Host {
    pub(super) fn order(&self, name: &AgentName, order: Order) {
        if let Err(mpsc::error::TrySendError::Full(order)) = self.orders.try_send(order) {
            tracing::error!(agent = %name, ?order, "its instance takes no orders");
        }
    }
}
