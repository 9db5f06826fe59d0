//! What instances report, as the policy hears it.

use openclaw_agent_api::AgentName;
use tokio::task::{Id, JoinError};

use super::Supervisor;
use crate::instance::{End, InstanceId, Report};
use crate::policy::{Event, Exit, ExitClass};

impl Supervisor {
    pub(super) fn reported(&mut self, id: InstanceId, report: Report) {
        let Some(name) = self.whose.get(&id).cloned() else { return };
        let Some(slot) = self.slots.get_mut(&name) else { return };
        if slot.serving.as_ref().is_some_and(|host| host.id == id) {
            self.serving_reported(&name, report);
        } else if slot.canary.as_ref().is_some_and(|host| host.id == id) {
            self.canary_reported(&name, report);
        } else if let Report::Ended(end) = report {
            self.whose.remove(&id);
            let served = slot.leaving.remove(&id).is_some_and(|leaving| leaving.served);
            if let (true, End::Exited(exit)) = (served, end) {
                self.tell(&name, "supervisor", format!("reload: the predecessor has ended: {exit}"), false);
            }
        }
    }

    fn serving_reported(&mut self, name: &AgentName, report: Report) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let event = match report {
            Report::Manifest(manifest) => {
                if let Some(hash) = &slot.record.library.current {
                    self.around.libraries.set_version(name, hash, &manifest.version);
                }
                slot.manifest = Some(manifest);
                return self.save();
            }
            Report::Sandboxed(sandbox) => {
                slot.sandbox = Some(sandbox);
                return;
            }
            Report::Ready => Event::HostReady,
            Report::Hang { what } => Event::Hang { what },
            Report::TaskEnded(call) => Event::TaskEnded { call },
            Report::Snapshot(outcome) => {
                let outcome = outcome.map(|state| slot.snapshot = Some(state));
                Event::Snapshot { outcome }
            }
            // Nobody asked a serving one.
            Report::Restored(_) => return,
            Report::Ended(end) => {
                if let Some(host) = slot.serving.take() {
                    self.whose.remove(&host.id);
                }
                match end {
                    End::Exited(exit) => Event::HostExited { exit },
                    End::Refused(why) => Event::Refused { why },
                }
            }
        };
        let counts_only = matches!(event, Event::TaskEnded { .. });
        self.decide(name, event);
        // A finished task moves nobody, unless it tripped the breaker: then the next report does.
        if !counts_only {
            self.move_on();
        }
    }

    fn canary_reported(&mut self, name: &AgentName, report: Report) {
        let Some(slot) = self.slots.get_mut(name) else { return };
        let event = match report {
            Report::Manifest(manifest) => {
                if let Some(reload) = &slot.record.reload {
                    self.around.libraries.set_version(name, &reload.candidate.to, &manifest.version);
                }
                if let Some(canary) = &mut slot.canary {
                    canary.manifest = Some(manifest);
                }
                return self.save();
            }
            Report::Ready => {
                let manifest = slot.canary.as_ref().and_then(|canary| canary.manifest.as_ref());
                Event::CanaryReady { version: manifest.map(|manifest| manifest.version.clone()) }
            }
            Report::Hang { what } => Event::CanaryEnded { why: format!("hang: {what}"), to_blame: true },
            Report::Restored(outcome) => Event::Restored { outcome },
            Report::Sandboxed(sandbox) => {
                if let Some(canary) = &mut slot.canary {
                    canary.sandbox = Some(sandbox);
                }
                return;
            }
            Report::TaskEnded(_) | Report::Snapshot(_) => return,
            Report::Ended(end) => {
                if let Some(host) = slot.canary.take() {
                    self.whose.remove(&host.id);
                }
                match end {
                    End::Exited(exit) => {
                        let to_blame = exit.class != ExitClass::NotStarted;
                        Event::CanaryEnded { why: exit.to_string(), to_blame }
                    }
                    // What the configuration or the operator can mend is no fault of the library.
                    End::Refused(why) => Event::CanaryEnded { why, to_blame: false },
                }
            }
        };
        self.decide(name, event);
        self.move_on();
    }

    /// One that ended by a panic has reported nothing, and its process went with it.
    pub(super) fn instance_ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (task, error) = match ended {
            Ok((task, ())) => (task, None),
            Err(error) => (error.id(), Some(error)),
        };
        let Some(id) = self.tasks.remove(&task) else { return };
        if let (Some(name), Some(error)) = (self.whose.get(&id), error) {
            tracing::error!(agent = %name, %error, "a defect of the daemon");
            let detail = "the daemon's own task for it failed; the daemon's log says more";
            let exit = Exit::new(ExitClass::Error, detail, self.around.clock.now());
            self.reported(id, Report::Ended(End::Exited(exit)));
        }
    }
}
