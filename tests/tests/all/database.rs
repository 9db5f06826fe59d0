//! `[database]` and `openclaw db`: a home moves from SQLite to PostgreSQL, where two daemons share the queue, and back.

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::Home;
use openclaw_tests::server::Postgres;
use openclaw_tests::wait_for;

use crate::support::quick;

pub fn on(url: &str) -> String {
    format!("[database]\nurl = \"{url}\"\n{}", quick("[agents.misbehaving]\n"))
}

#[test]
fn a_home_moves_to_a_server_and_back() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let url = &server.url("postgres");
    let home = Home::new(&quick("[agents.misbehaving]\n"), &["misbehaving"])?;
    let daemon = home.start_ready(&["misbehaving"])?;
    home.ok(&["send", "misbehaving", "echo one", "--key", "first"])?;
    let copy = ["db", "copy", "--from", "sqlite://openclaw.db", "--to", url];
    let refused = home.cli(&copy)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(75) && said.contains("already running"), "{said}");
    daemon.stop()?;
    let said = home.ok(&copy)?;
    ensure!(said.contains("counts and checksums agree"), "{said}");

    home.configure(&on(url))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    // What was sent before is known there, and another home's daemon on the same database adds to the same queue.
    let again = home.json(&["send", "misbehaving", "echo one", "--key", "first", "--json"])?;
    ensure!(again["state"] == "done", "{again}");
    let other = Home::new(&on(url), &["misbehaving"])?;
    let second = other.start()?;
    other.until("misbehaving", "standby")?;
    ensure!(other.ok(&["send", "misbehaving", "echo two"])?.contains("two"));
    ensure!(home.ok(&["tasks", "list"])?.contains("echo two"));
    second.stop()?;
    daemon.stop()?;

    let status = home.json(&["db", "status", "--json"])?;
    let tables = status["tables"].as_array().context("tables")?;
    let tasks = tables.iter().find(|table| table["name"] == "task_queue").context("the queue")?;
    ensure!(tasks["rows"] == 2, "{status}");
    ensure!(home.ok(&["db", "check"])?.lines().all(|line| line.starts_with("ok")));
    ensure!(home.ok(&["db", "migrate"])?.contains("nothing was changed"));
    home.ok(&["db", "copy", "--from", url, "--to", "sqlite://back.db"])?;
    let refused = home.cli(&copy)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && said.contains("is not empty"), "{said}");
    Ok(())
}

#[test]
fn a_server_s_database_is_not_copied_while_a_daemon_leads_an_agent_there() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let url = server.url("postgres");
    let config = on(&url).replace("[daemon]", "[daemon]\nlead = \"2s\"");
    ensure!(config.contains("lead ="), "{config}");
    let home = Home::new(&config, &["misbehaving"])?;
    let daemon = home.start_ready(&["misbehaving"])?;
    ensure!(home.ok(&["send", "misbehaving", "echo one"])?.contains("one"));
    let copy = ["db", "copy", "--from", &url, "--to", "sqlite://copy.db"];
    let refused = || {
        let refused = home.cli(&copy)?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(refused.status.code() == Some(1), "{said}");
        ensure!(said.contains("is in use") && said.contains("held by daemons: stop them"), "{said}");
        Ok(())
    };
    // It has nothing in work, and leads its agent all the same.
    let leased = "select count(*) from task_queue where state = 'leased'";
    ensure!(server.number("postgres", leased)? == 0);
    refused()?;
    // Nobody can tell that it is dead before its lead has run out.
    daemon.kill()?;
    refused()?;
    let held = "select count(*) from agent_state where lease_until > clock_timestamp()";
    wait_for("its lead to run out", || Ok((server.number("postgres", held)? == 0).then_some(())))?;
    ensure!(home.ok(&copy)?.contains("counts and checksums agree"));
    // Whoever stops gives its lead back.
    home.start_ready(&["misbehaving"])?.stop()?;
    let again = ["db", "copy", "--from", &url, "--to", "sqlite://again.db"];
    ensure!(home.ok(&again)?.contains("counts and checksums agree"));
    Ok(())
}

/// It leads nothing, and has nothing in work.
#[test]
fn a_server_s_database_is_not_copied_while_a_gateway_accepts_work_there() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let url = server.url("postgres");
    let home = Home::new(&on(&url), &["misbehaving"])?;
    home.ok(&["db", "migrate"])?;
    let gateway = home.spawn_by(home.command(&["run", "gateway"])?)?;
    let sessions = "select count(*) from pg_stat_activity where application_name = 'openclaw'";
    wait_for("the gateway to connect", || Ok((server.number("postgres", sessions)? > 0).then_some(())))?;
    let copy = ["db", "copy", "--from", &url, "--to", "sqlite://copy.db"];
    let refused = home.cli(&copy)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(1) && said.contains("sessions of daemons are open"), "{said}");
    ensure!(gateway.stop()?.success());
    ensure!(home.ok(&copy)?.contains("counts and checksums agree"));
    Ok(())
}

/// On a server and on a file, as source and as target.
#[test]
fn no_daemon_starts_on_a_database_while_it_is_copied() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let (one, two) = (&server.database("one")?, &server.database("two")?);
    let config = quick("[agents.misbehaving]\n");
    let (file, source, target) = (
        Home::new(&config, &["misbehaving"])?,
        Home::new(&on(one), &["misbehaving"])?,
        Home::new(&on(two), &["misbehaving"])?,
    );
    let daemon = file.start_ready(&["misbehaving"])?;
    ensure!(file.ok(&["send", "misbehaving", "echo one"])?.contains("one"));
    daemon.stop()?;
    for (from, from_url, to, to_url, database) in
        [(&file, "sqlite://openclaw.db", &source, one, "one"), (&source, one.as_str(), &target, two, "two")]
    {
        to.ok(&["db", "migrate"])?;
        // In the midst of the copy, which waits for this table.
        let holding = server.hold(database, "task_queue")?;
        let copy = from.command(&["db", "copy", "--from", from_url, "--to", to_url])?.spawn();
        let mut copy = copy?;
        let waits = "select count(*) from pg_locks where locktype = 'relation' and not granted";
        wait_for("the copy to wait", || Ok((server.number(database, waits)? > 0).then_some(())))?;
        for home in [from, to] {
            let refused = home.cli(&["run"])?;
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(refused.status.code() == Some(75) && said.contains("`openclaw db copy`"), "{said}");
        }
        ensure!(to.cli(&["db", "migrate"])?.status.code() == Some(75));
        drop(holding);
        ensure!(wait_for("the copy to end", || Ok(copy.try_wait()?))?.success());
    }
    let daemon = target.start_ready(&["misbehaving"])?;
    ensure!(target.ok(&["tasks", "list"])?.contains("echo one"));
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_database_that_is_away_is_told_and_no_password_is_shown() -> Result<()> {
    let home = Home::new(&on("postgres://openclaw@127.0.0.1:1/openclaw"), &["misbehaving"])?;
    let run = home.command(&["run"])?.env("OPENCLAW_DATABASE_PASSWORD", "hidden").output()?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(run.status.code() == Some(75) && said.contains("127.0.0.1:1"), "{said}");
    // A refusal says no more than that.
    ensure!(said.contains("nothing listens there, or a firewall rejects us"), "{said}");
    ensure!(!said.contains("hidden"), "{said}");
    home.configure(&on("postgres://openclaw:hidden@127.0.0.1/openclaw"))?;
    let check = home.cli(&["config", "check"])?;
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    ensure!(check.status.code() == Some(78) && said.contains("OPENCLAW_DATABASE_PASSWORD"), "{said}");
    ensure!(!said.contains("hidden"), "{said}");
    Ok(())
}
