//! Atlas, operations: looks at the machine and at the other components, and says once what is wrong.
//!
//! | module | what is in it |
//! |---|---|
//! | [`seen`] | the status and resources answers, typed |
//! | [`findings`] | what is wrong, decided purely |
//! | [`check`] | the scheduled check: look, compare, tell, remember |
//! | [`show`] | the answers to people |
//! | [`thresholds`] | the settings |

pub mod check;
pub mod findings;
pub mod seen;
pub mod show;
pub mod thresholds;

use std::sync::Mutex;
use std::time::Duration;

use openclaw_agent_api::prelude::*;

use crate::check::LastCheck;
use crate::thresholds::Thresholds;

/// This agent's own name: it never watches itself.
pub const NAME: &str = env!("CARGO_PKG_NAME");

/// The schedule's name, and its period: an operator's eye would not be quicker.
const CHECK: &str = "check";
const PERIOD: Duration = Duration::from_secs(60);

/// The operations agent.
pub struct Atlas {
    thresholds: Thresholds,
    // Memory is the truth; this keeps an alarm from being repeated while the store is away.
    last: Mutex<Option<LastCheck>>,
}

impl Agent for Atlas {
    fn describe() -> Manifest {
        Manifest::new("Watches the machine and the other components, and says when something is wrong.")
            .command("/resources", "CPU, memory, disk and load of this machine")
            .command("/watch", "what the last check found, and how the team is now")
            .schedule(every(PERIOD, CHECK))
            .needs("supervisor.status")
            .needs("system.resources")
            .needs("memory")
            .settings(Thresholds::schema())
    }

    fn create(settings: Value) -> Result<Self> {
        Ok(Self { thresholds: Thresholds::parse(settings)?, last: Mutex::default() })
    }

    fn handle(&self, ctx: &Context, message: &Message) -> Result<Reply> {
        let text = message.text.trim();
        // Without the slash as well: `/tell atlas resources` is how people say it.
        match text.split_whitespace().next().unwrap_or("").trim_start_matches('/') {
            "resources" => show::resources(ctx, &self.thresholds),
            "watch" => self.watch(ctx),
            _ => Err(AgentError::invalid("atlas knows /resources and /watch")),
        }
    }

    fn tick(&self, ctx: &Context, schedule: &str) -> Result<()> {
        if schedule == CHECK { self.check(ctx) } else { Ok(()) }
    }
}

export_agent!(Atlas);

#[cfg(test)]
mod tests;
