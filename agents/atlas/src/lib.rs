//! Atlas, operations: looks at the machine, the team and what it may spend; restarts what a restart may help, sees whether
//! it did, and else tells the operator.
//!
//! | module | what is in it |
//! |---|---|
//! | [`seen`] | what the daemon answers, typed |
//! | [`findings`] | what is wrong now, decided purely |
//! | [`decide`] | what follows from it over several looks: pure |
//! | [`uptime`] | how much of the time all was well, and reports of that: pure |
//! | [`check`] | the scheduled check: look, decide, tell, remember, act |
//! | [`show`] | the answers to people |
//! | [`thresholds`] | the settings |

pub mod check;
pub mod decide;
pub mod findings;
pub mod seen;
pub mod show;
pub mod thresholds;
pub mod uptime;

use std::sync::Mutex;
use std::time::Duration;

use openclaw_agent_api::prelude::*;

use crate::decide::LastCheck;
use crate::thresholds::Thresholds;

/// This agent's own name: it never watches itself.
pub const NAME: &str = env!("CARGO_PKG_NAME");

/// The schedule's name.
const CHECK: &str = "check";
/// Its period: with two looks to be sure, what is wrong is told within a minute.
pub const PERIOD: Duration = Duration::from_secs(20);

/// The operations agent.
pub struct Atlas {
    thresholds: Thresholds,
    // Memory is the truth; this is what it has not, and keeps an alarm from being repeated while the store is away.
    unkept: Mutex<Option<LastCheck>>,
}

impl Agent for Atlas {
    fn describe() -> Manifest {
        Manifest::new("Watches the machine and the other components, and says when something is wrong.")
            .command("/resources", "CPU, memory, disk and load of this machine")
            .command("/watch", "what the last check found, and how the team is now")
            .command("/uptime", "how much of the time each component was well: today, and the last reports")
            .schedule(every(PERIOD, CHECK))
            .needs("supervisor.status")
            .needs("system.resources")
            .needs("memory")
            .settings(Thresholds::schema())
    }

    fn create(settings: Value) -> Result<Self> {
        Ok(Self { thresholds: Thresholds::parse(settings)?, unkept: Mutex::default() })
    }

    fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
        let text = message.text.trim();
        // Without the slash as well: `/tell atlas resources` is how people say it.
        match text.split_whitespace().next().unwrap_or("").trim_start_matches('/') {
            "resources" => show::resources(ctx, &self.thresholds),
            "watch" => self.watch(ctx),
            "uptime" => self.uptime(ctx),
            _ => Err(AgentError::invalid("atlas knows /resources, /watch and /uptime")),
        }
    }

    fn tick(&self, ctx: &Context, schedule: &str) -> Result<()> {
        if schedule == CHECK { self.check(ctx) } else { Ok(()) }
    }
}

export_agent!(Atlas);

#[cfg(test)]
mod tests;
