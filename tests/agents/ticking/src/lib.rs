//! A test agent with a schedule that a test can wait for: every other second, where real agents have minutes. Each tick
//! adds a line to the file `ticks` in the agent's working folder.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

use openclaw_agent_api::prelude::*;

/// The agent.
pub struct Ticking;

impl Agent for Ticking {
    fn describe() -> Manifest {
        Manifest::new("Ticks every other second.").schedule(every(Duration::from_secs(2), "tick"))
    }

    fn create(_settings: Value) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&self, _ctx: &Context, _message: &Message) -> Result<Reply> {
        Ok(Reply::text("tock"))
    }

    fn tick(&self, _ctx: &Context, schedule: &str) -> Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open("ticks")?;
        file.write_all(format!("{schedule}\n").as_bytes())?;
        Ok(())
    }
}

export_agent!(Ticking);
