//! How long an agent is nowhere when the process that leads it dies.

use std::time::{Duration, Instant};

use anyhow::Result;
use openclaw_tests::daemon::Home;
use openclaw_tests::server::Postgres;
use openclaw_tests::wait_for;

use crate::Options;
use crate::measure::pause;
use crate::row::{Bound, Row};

pub const FAILOVER: &str = "kill -9 of the leading daemon → stand-by ready, beyond the lease";

/// A lease's length here; what is measured is what comes on top of it.
const LEAD: Duration = Duration::from_secs(2);

/// The leader is killed at some moment between two renewals, so that the lease has up to its whole length to run.
pub fn failover(options: &Options) -> Result<Vec<Row>> {
    let Some(server) = Postgres::start()? else { return Ok(Vec::new()) };
    let config = format!(
        "[database]\nurl = \"{}\"\n[daemon]\nlead = \"{}s\"\n[supervision]\nkill_grace = \"100ms\"\n[agents.scout]\n",
        server.url("postgres"),
        LEAD.as_secs()
    );
    let homes = [Home::new(&config, &["scout"])?, Home::new(&config, &["scout"])?];
    let mut leader = homes[0].start_ready(&["scout"])?;
    let mut samples = Vec::new();
    for round in 0..options.samples(20) {
        let stand_by = &homes[(round + 1) % 2];
        let next = stand_by.start()?;
        stand_by.until("scout", "standby")?;
        pause(Duration::from_millis(fastrand::u64(0..700)));
        let killed = Instant::now();
        leader.kill()?;
        wait_for("the stand-by", || Ok((stand_by.component("scout")?["state"] == "ready").then_some(())))?;
        samples.push(killed.elapsed().as_secs_f64() - LEAD.as_secs_f64());
        leader = next;
    }
    leader.stop()?;
    Ok(vec![Row::new(FAILOVER, "s", &[Bound::Most(1.0)], samples)])
}
