//! The heartbeat bridge: two daemons share PostgreSQL and Redis, and one of them is killed.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use openclaw_tests::daemon::Home;
use openclaw_tests::server::{Postgres, Redis};
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::{fails, quick};

/// The bridge in a home's status, once its reason says so.
fn bridge(home: &Home, says: &str) -> Result<Value> {
    let mut last = Value::Null;
    wait_for(&format!("a bridge that says `{says}`"), || {
        last = home.component("heartbeat-bridge")?;
        Ok(last["reason"].as_str().is_some_and(|reason| reason.contains(says)).then(|| last.clone()))
    })
    .with_context(|| format!("last seen: {last}"))
}

/// What is stored of an agent, oldest first, once the newest is `status`.
fn heartbeats(home: &Home, agent: &str, status: &str) -> Result<Vec<Value>> {
    wait_for(&format!("{agent} to be stored as {status}"), || {
        let rows = home.json(&["agents", "heartbeats", agent, "-n", "1000", "--json"])?;
        let rows = rows.as_array().context("rows")?.clone();
        Ok(rows.last().is_some_and(|row| row["status"] == status).then_some(rows))
    })
}

fn alerts(home: &Home, agent: &str, text: &str) -> Result<usize> {
    let alerts = home.json(&["alert", "list", "-n", "1000", "--json"])?;
    let alerts = alerts.as_array().context("alerts")?;
    let says = |alert: &Value, field: &str| alert[field].as_str().is_some_and(|told| told.contains(text));
    let about =
        |alert: &&Value| alert["source"] == agent && (says(alert, "text") || says(alert, "resolution"));
    Ok(alerts.iter().filter(about).count())
}

/// Listens to what the bridge relays; ended with the test.
struct Relay {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Relay {
    fn listen(port: u16) -> Result<Self> {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &port.to_string(), "SUBSCRIBE", "agent:heartbeat"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { child, lines })
    }

    /// The next signal of this kind about an agent, among the first thousand.
    fn hear(&mut self, agent: &str, kind: &str) -> Result<Value> {
        self.hear_all(agent, kind)?.pop().context("the last one")
    }

    /// That, and all that came before it.
    fn hear_all(&mut self, agent: &str, kind: &str) -> Result<Vec<Value>> {
        let mut heard = Vec::new();
        for line in self.lines.by_ref().take(3000) {
            let Ok(signal) = serde_json::from_str::<Value>(&line?) else { continue };
            let last = signal["data"]["agent"] == agent && signal["type"] == kind;
            heard.push(signal);
            if last {
                return Ok(heard);
            }
        }
        anyhow::bail!("{kind} of {agent} is not heard")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_daemon_that_is_killed_is_missed_by_the_other_ones_bridge() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let url = &server.url("postgres");
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(_redis) = Redis::start_on(port)? else { return Ok(()) };
    let config = |agent: &str| {
        format!(
            "[daemon]\nheartbeat = \"1s\"\n[database]\nurl = \"{url}\"\n[bus]\nurl = \"redis://localhost:{port}\"\n\
             [agents.{agent}]\n"
        )
    };
    let first = Home::new(&config("misbehaving"), &["misbehaving"])?;
    let killed = first.start_ready(&["misbehaving"])?;
    let watches = bridge(&first, "1 fresh")?;
    ensure!(watches["description"] == "watches every agent", "{watches}");
    let second = Home::new(&config("scout"), &["scout"])?;
    let daemon = second.start_ready(&["scout"])?;
    // Each watches the other's agents; one of them speaks.
    let stands_by = bridge(&second, "2 fresh")?;
    ensure!(stands_by["description"] == "stands by for another process's", "{stands_by}");
    ensure!(stands_by["evidence"]["what"] == "looked at 2 agents", "{stands_by}");
    bridge(&first, "2 fresh")?;
    heartbeats(&second, "misbehaving", "fresh")?;
    heartbeats(&first, "scout", "fresh")?;

    let mut relay = Relay::listen(port)?;
    relay.hear("scout", "heartbeat.fresh")?;
    let signal = relay.hear("misbehaving", "heartbeat.fresh")?;
    ensure!(signal["data"]["evidence"]["pid"].is_number(), "{signal}");
    killed.kill()?;
    let down = bridge(&second, "down: misbehaving")?;
    ensure!(
        down["health"] == "ok" && down["reason"].as_str() == Some("1 fresh; down: misbehaving"),
        "{down}"
    );
    let signal = relay.hear("misbehaving", "heartbeat.down")?;
    ensure!(
        signal["source"] == "heartbeat-bridge" && signal["data"]["evidence"]["host"].is_string(),
        "{signal}"
    );
    let rows = heartbeats(&second, "misbehaving", "down")?;
    ensure!(rows.last().context("a row")?["metadata"]["alerted"] == true, "{rows:#?}");
    ensure!(second.component("heartbeat-bridge")?["description"] == "watches every agent");
    ensure!(alerts(&second, "misbehaving", "misbehaving is down: no heartbeat from")? == 1);
    let shown = second.ok(&["agents", "heartbeats", "misbehaving"])?;
    ensure!(shown.contains("LAST SEEN") && shown.contains("down"), "{shown}");

    let again = first.start_ready(&["misbehaving"])?;
    heartbeats(&second, "misbehaving", "fresh")?;
    wait_for("the end of the alert", || {
        Ok((alerts(&second, "misbehaving", "is heard again")? == 1).then_some(()))
    })?;
    ensure!(alerts(&second, "misbehaving", "is down")? == 1);
    ensure!(alerts(&second, "scout", "")? == 0 && alerts(&second, "heartbeat-bridge", "")? == 0);
    // A daemon that is stopped takes its agents along, and nobody is alarmed.
    ensure!(again.stop()?.success());
    bridge(&second, "down: misbehaving")?;
    let rows = heartbeats(&second, "misbehaving", "down")?;
    ensure!(rows.last().context("a row")?["metadata"]["state"] == "stopped", "{rows:#?}");
    ensure!(alerts(&second, "misbehaving", "is down")? == 1);
    // Its lead is given back, so that nobody need wait for its end.
    let lead = "select count(*) from agent_state where agent_name = 'heartbeat-bridge' and lease_until is";
    ensure!(server.number("postgres", &format!("{lead} not null"))? == 1);
    ensure!(daemon.stop()?.success());
    ensure!(server.number("postgres", &format!("{lead} null"))? == 1);
    Ok(())
}

/// Whoever has not looked for a while says `unknown` of all: the one that woke, and nobody else here.
#[test]
fn one_that_stood_still_past_its_lead_has_nothing_to_say_when_it_wakes() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let url = &server.url("postgres");
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let Some(redis) = Redis::start_on(port)? else { return Ok(()) };
    let config = |agent: &str| {
        format!(
            "[daemon]\nheartbeat = \"1s\"\n[database]\nurl = \"{url}\"\n[bus]\n\
             url = \"redis://localhost:{port}\"\n[agents.{agent}]\n"
        )
    };
    let (first, second) =
        (Home::new(&config("misbehaving"), &["misbehaving"])?, Home::new(&config("scout"), &["scout"])?);
    let stopped = first.start_ready(&["misbehaving"])?;
    bridge(&first, "1 fresh")?;
    let other = second.start_ready(&["scout"])?;
    bridge(&second, "2 fresh")?;
    ensure!(first.component("heartbeat-bridge")?["description"] == "watches every agent");
    stopped.signal(Signal::SIGSTOP)?;
    bridge(&second, "down: misbehaving")?;
    ensure!(second.component("heartbeat-bridge")?["description"] == "watches every agent");
    heartbeats(&second, "misbehaving", "down")?;
    let mut relay = Relay::listen(port)?;
    relay.hear("misbehaving", "heartbeat.down")?;
    let newest = server.number("postgres", "select max(id) from agent_heartbeats")?;
    stopped.signal(Signal::SIGCONT)?;
    let speaker = other.pid().to_string();
    wait_for("the one that woke to look on, and its agent to be heard", || {
        let beat = redis.ask(&["HGET", "agent:heartbeat-bridge:status", "pid"])?;
        ensure!(beat == speaker, "{beat} beats, and not {speaker}");
        let woken = first.component("heartbeat-bridge")?;
        let back =
            woken["reason"] == "2 fresh" && woken["description"].as_str() != Some("watches every agent");
        Ok(back.then_some(()))
    })?;
    let heard = relay.hear_all("misbehaving", "heartbeat.fresh")?;
    ensure!(heard.iter().all(|signal| signal["type"] != "heartbeat.unknown"), "{heard:#?}");
    let wrong = format!("select count(*) from agent_heartbeats where id > {newest} and status = 'unknown'");
    ensure!(server.number("postgres", &wrong)? == 0, "{:#?}", heartbeats(&second, "scout", "fresh")?);
    ensure!(stopped.stop()?.success() && other.stop()?.success());
    Ok(())
}

#[test]
fn a_home_of_its_own_keeps_heartbeats_and_an_unknown_agent_has_none() -> Result<()> {
    let home = Home::new(&quick("").replace("[daemon]", "[daemon]\nheartbeat = \"1s\""), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    let rows = heartbeats(&home, "scout", "fresh")?;
    ensure!(rows.iter().all(|row| row["agent"] == "scout" && row["at"].is_string()), "{rows:#?}");
    ensure!(bridge(&home, "1 fresh")?["evidence"]["what"] == "looked at 1 agent");
    let said = fails(&home, 64, &["agents", "heartbeats", "scuot"])?;
    ensure!(said.contains("did you mean `scout`"), "{said}");
    // One that is stopped by hand beats on, and is not missed.
    home.ok(&["agents", "stop", "scout"])?;
    bridge(&home, "1 fresh")?;
    ensure!(alerts(&home, "scout", "")? == 0);
    ensure!(daemon.stop()?.success());
    Ok(())
}
