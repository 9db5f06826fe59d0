//! `system`: this machine, from `/proc`, and its units, from systemd.

use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::CallError;
use procfs::{Current, CurrentSI, KernelStats, LoadAverage, Meminfo, Uptime};
use serde::Deserialize;
use serde_json::{Value, json};
use store::backend::NewEvent;
use store::task::TaskId;

use super::{Doors, failed, invalid, not_configured};
use crate::systemd;

/// The event type of a restart of a unit.
const RESTARTED: &str = "unit.restart";
/// Between two looks at the CPU's counters.
const SAMPLE: Duration = Duration::from_millis(100);

pub async fn resources(disk: &Path) -> Result<Value, CallError> {
    let before = busy_and_total()?;
    tokio::time::sleep(SAMPLE).await;
    let after = busy_and_total()?;
    let (busy, total) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1).max(1));
    let memory = Meminfo::current().map_err(|error| failed(&error))?;
    let load = LoadAverage::current().map_err(|error| failed(&error))?;
    let uptime = Uptime::current().map_err(|error| failed(&error))?;
    let room = statvfs(disk).map_err(|errno| failed(&format!("{}: {errno}", disk.display())))?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(json!({
        "cpu": {"cores": cores, "busy_percent": (busy as f64 * 1000.0 / total as f64).round() / 10.0},
        "memory": {
            "total_bytes": memory.mem_total,
            "available_bytes": memory.mem_available.unwrap_or(memory.mem_free),
        },
        "disk": {
            "path": disk,
            "total_bytes": room.blocks() * room.fragment_size(),
            "free_bytes": room.blocks_available() * room.fragment_size(),
        },
        "load": [load.one, load.five, load.fifteen],
        "uptime_seconds": uptime.uptime as u64,
    }))
}

/// openclaw's units, as systemd has them.
pub async fn services(home: &Path) -> Result<Value, CallError> {
    let home = home.to_owned();
    // A program is run for it.
    let seen =
        tokio::task::spawn_blocking(move || operations::install::manager(&home).and_then(systemd::units));
    match seen.await.map_err(|error| failed(&error))? {
        Some(units) => serde_json::to_value(units).map_err(|error| failed(&error)),
        None => {
            Err(not_configured("no services to show: systemd does not run this daemon, or does not answer"))
        }
    }
}

#[derive(Deserialize)]
pub struct RestartUnit {
    unit: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    task_id: Option<TaskId>,
}

impl Doors {
    /// Has systemd restart a service of ours; polkit decides whether this user may.
    pub async fn restart_unit(&self, agent: &AgentName, call: RestartUnit) -> Result<Value, CallError> {
        let RestartUnit { unit, reason, task_id } = call;
        self.for_an_operator(agent, task_id).await?;
        let ours = operations::units::UNITS.iter().any(|known| known.name == unit);
        if !ours || !unit.ends_with(".service") || unit.contains('@') {
            return Err(invalid(format!("`{}` is no service of openclaw's", unit.escape_debug())));
        }
        if systemd::own_unit().as_deref() == Some(&unit) {
            return Err(invalid(format!(
                "`{unit}` is the unit that runs {agent}: systemd restarts it by itself"
            )));
        }
        let Some(manager) = operations::install::manager(&self.disk).filter(|_| systemd::is_there()) else {
            return Err(not_configured("no units to restart: systemd does not run this daemon"));
        };
        tracing::warn!(%agent, unit, "restarting a unit: {reason}");
        let payload = json!({"unit": unit, "reason": reason});
        self.store.event(NewEvent {
            agent: agent.clone(),
            kind: RESTARTED,
            payload: payload.to_string(),
            at: self.clock.now(),
        });
        let told = tokio::task::spawn_blocking(move || systemd::restart(manager, &unit));
        told.await.map_err(|error| failed(&error))?.map_err(|why| failed(&why))?;
        Ok(Value::Null)
    }
}

fn busy_and_total() -> Result<(u64, u64), CallError> {
    let cpu = KernelStats::current().map_err(|error| failed(&error))?.total;
    let waiting = cpu.idle + cpu.iowait.unwrap_or(0);
    let rest = [cpu.irq, cpu.softirq, cpu.steal].into_iter().flatten().sum::<u64>();
    let busy = cpu.user + cpu.nice + cpu.system + rest;
    Ok((busy, busy + waiting))
}
