//! Several daemons on one PostgreSQL: an agent's name runs in one of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::network::Network;
use openclaw_tests::proxy::Proxy;
use openclaw_tests::server::Postgres;
use openclaw_tests::socket::{Socket, message};
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::{ANALYZE, quick, reply};

/// Short, so that the test is; what is tried does not depend on it.
fn on(url: &str) -> String {
    let lead = quick("[agents.misbehaving]\n").replace("[daemon]", "[daemon]\nlead = \"2s\"");
    format!("[database]\nurl = \"{url}\"\n{lead}")
}

fn homes(url: &str) -> Result<[Home; 2]> {
    let home = || Home::new(&on(url), &["scout", "misbehaving"]);
    Ok([home()?, home()?])
}

#[test]
fn who_stands_by_takes_over_what_was_known_when_the_leader_dies_and_when_it_stops() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let [first, second] = homes(&server.url("postgres"))?;
    let leader = first.start_ready(&["scout", "misbehaving"])?;
    // Known of it: a restart.
    first.ok(&["agents", "restart", "misbehaving"])?;
    first.until("misbehaving", "ready")?;
    let stand_by = second.start()?;
    let stands = second.until("misbehaving", "standby")?;
    ensure!(stands["reason"].as_str().is_some_and(|why| why.contains("leads it")), "{stands}");
    ensure!(stands["pid"].is_null() && second.hosts()?.is_empty(), "{stands}");
    // It is in nobody's way: messages pass, orders are refused with a reason.
    ensure!(reply(&second, "misbehaving", "echo here")? == "here");
    let refused = second.cli(&["agents", "stop", "misbehaving"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(69) && said.contains("stands by"), "{said}");

    leader.kill()?;
    second.until("scout", "ready")?;
    let taken = second.until("misbehaving", "ready")?;
    ensure!(taken["restarts"] == 1, "what the first knew is not known: {taken}");
    ensure!(reply(&second, "misbehaving", "echo there")? == "there");

    // The first is back and stands by; a stop hands over without a wait for the lease to end.
    let back = first.start()?;
    first.until("misbehaving", "standby")?;
    second.ok(&["agents", "stop", "misbehaving"])?;
    ensure!(stand_by.stop()?.success());
    first.until("scout", "ready")?;
    // What the operator wanted is known as well.
    first.until("misbehaving", "stopped")?;
    ensure!(back.stop()?.success());
    Ok(())
}

#[test]
fn agents_outlive_an_outage_of_the_server_that_is_longer_than_their_lease() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let [first, second] = homes(&server.url("postgres"))?;
    let leader = first.start_ready(&["scout", "misbehaving"])?;
    let stand_by = second.start()?;
    second.until("scout", "standby")?;
    let sorted = |mut hosts: Vec<i32>| {
        hosts.sort_unstable();
        hosts
    };
    let hosts = sorted(first.hosts()?);
    server.kill()?;
    // Long enough that its lease has run out, and is claimed at once by whoever may.
    let began = Instant::now();
    wait_for("two leases' time", || {
        ensure!(sorted(first.hosts()?) == hosts, "the agents were stopped");
        Ok((began.elapsed() > Duration::from_secs(5)).then_some(()))
    })?;
    let refused = first.cli(&["send", "misbehaving", "echo nothing"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(75) && said.contains("the database is down"), "{said}");
    server.start_again()?;
    wait_for("messages to pass again", || Ok(reply(&first, "misbehaving", "echo again").ok()))?;
    let began = Instant::now();
    wait_for("another two leases' time", || {
        ensure!(second.hosts()?.is_empty(), "two run");
        Ok((began.elapsed() > Duration::from_secs(5)).then_some(()))
    })?;
    ensure!(sorted(first.hosts()?) == hosts, "the agents were stopped");
    ensure!(leader.stop()?.success() && stand_by.stop()?.success());
    Ok(())
}

#[test]
fn processes_of_one_home_are_one_to_the_command_line() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let home = Home::new(&on(&server.url("postgres")), &["scout", "misbehaving"])?;
    let scout = home.spawn_by(home.command(&["run", "scout"])?)?;
    let other = home.spawn_by(home.command(&["run", "misbehaving"])?)?;
    let answers = |name: &str| home.path().join("run").join(name).exists();
    wait_for("both sockets", || Ok((answers("scout.sock") && answers("misbehaving.sock")).then_some(())))?;
    home.until("scout", "ready")?;
    home.until("misbehaving", "ready")?;
    let status = home.status()?;
    ensure!(status["others"].as_array().is_some_and(|others| others.len() == 1), "{status}");
    for agent in ["scout", "misbehaving"] {
        ensure!(home.ok(&["agents", "restart", agent])?.contains("is ready"));
    }
    ensure!(home.ok(&["send", "misbehaving", "echo well"])?.contains("well"));
    // The same components twice are refused, and others beside them stand by.
    let again = home.cli(&["run", "scout"])?;
    ensure!(again.status.code() == Some(75), "{again:?}");
    let whole = home.start()?;
    let table = home.ok(&["status"])?;
    ensure!(table.contains("store@scout") && !table.contains("standby"), "{table}");
    ensure!(scout.stop()?.success());
    wait_for("the other process to lead scout", || {
        let component = home.component("scout")?;
        Ok((component["state"] == "ready" && component["process"] == "openclaw").then_some(()))
    })?;
    ensure!(whole.stop()?.success() && other.stop()?.success());
    Ok(())
}

#[test]
fn without_a_bus_work_left_in_one_process_is_found_by_the_other() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let home = Home::new(&on(&server.url("postgres")), &["scout", "misbehaving"])?;
    let here = home.spawn_by(home.command(&["run", "scout"])?)?;
    let there = home.spawn_by(home.command(&["run", "misbehaving"])?)?;
    let socket = home.path().join("run/scout.sock");
    wait_for("both to be ready", || {
        let ready = |name| home.component(name).is_ok_and(|component| component["state"] == "ready");
        Ok((ready("scout") && ready("misbehaving")).then_some(()))
    })?;
    let sent = Socket::connect(&socket)?.call(message("misbehaving", "echo far", None, Some(20_000)))?;
    let sent = sent.map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(sent["state"] == "done" && sent["result"]["text"] == "far", "{sent}");
    ensure!(here.stop()?.success() && there.stop()?.success());
    Ok(())
}

#[test]
fn a_library_that_failed_where_it_was_led_does_not_take_over_with_the_lead() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let [first, second] = homes(&server.url("postgres"))?;
    let leader = first.start_ready(&["scout"])?;
    let stand_by = second.start()?;
    second.until("scout", "standby")?;
    let good = first.component("scout")?["sha256"].clone();
    // The same bad file comes to both; it is tried, and refused, where the agent runs.
    for home in [&first, &second] {
        home.install("alien", "scout")?;
    }
    wait_for("the bad file to be refused", || {
        let note = first.component("scout")?["library"]["note"].to_string();
        Ok((note.contains("goes on") || note.contains("not run") || note.contains("refused")).then_some(()))
    })?;
    leader.kill()?;
    second.until("scout", "ready")?;
    ensure!(second.component("scout")?["sha256"] == good, "{}", second.component("scout")?);
    ensure!(stand_by.stop()?.success());
    Ok(())
}

#[test]
fn a_group_is_one_process_s() -> Result<()> {
    let group = "[agents.misbehaving]\n[groups.pair]\nagents = ['scout', 'misbehaving']\n";
    let home = Home::new(&quick(group), &["scout"])?;
    let refused = home.cli(&["run", "scout"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(64) && said.contains("[groups.pair]"), "{said}");
    Ok(())
}

#[test]
fn of_two_that_run_all_one_leads_the_whole_group() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let group = "[groups.pair]\nagents = ['scout', 'misbehaving']\nstrategy = 'one_for_all'\n";
    let config = format!("{}{group}", on(&server.url("postgres")));
    let home = || Home::new(&config, &["scout", "misbehaving"]);
    let homes = [home()?, home()?];
    // Both want it at once.
    let mut daemons = [homes[0].spawn()?, homes[1].spawn()?].map(Some);
    let leads = || {
        let hosts = |home: &Home| home.hosts().map(|hosts| hosts.len());
        wait_for("one to run both", || {
            let run = [hosts(&homes[0])?, hosts(&homes[1])?];
            ensure!(run.contains(&0), "both run a part: {run:?}");
            Ok(run.iter().position(|hosts| *hosts == 2))
        })
    };
    let first = leads()?;
    for agent in ["scout", "misbehaving"] {
        wait_for("the other to stand by", || {
            Ok(homes[1 - first].component(agent).ok().filter(|component| component["state"] == "standby"))
        })?;
    }
    let dead = daemons[first].take().context("a daemon")?;
    dead.kill()?;
    wait_for("the hosts of the dead one to end", || Ok(homes[first].hosts()?.is_empty().then_some(())))?;
    ensure!(leads()? != first);
    homes[1 - first].until("misbehaving", "ready")?;
    ensure!(reply(&homes[1 - first], "misbehaving", "echo whole")? == "whole");
    let last = daemons[1 - first].take().context("a daemon")?;
    ensure!(last.stop()?.success());
    Ok(())
}

#[test]
fn what_is_of_no_use_without_the_rest_of_its_group_is_given_back() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let config = on(&server.url("postgres"));
    let group = "[groups.pair]\nagents = ['scout', 'misbehaving']\n";
    let [whole, single] = [format!("{config}{group}"), config];
    let whole = Home::new(&whole, &["scout", "misbehaving"])?;
    let single = Home::new(&single, &["scout", "misbehaving"])?;
    // Elsewhere nobody knows of a group, and one of it is led on its own.
    let scout = single.spawn_by(single.command(&["run", "scout"])?)?;
    // Its daemon may not answer yet.
    let ready = |agent: &str| {
        wait_for("it to be led on its own", || {
            let found = single.component(agent).ok();
            Ok(found.filter(|found| found["state"] == "ready"))
        })
    };
    ready("scout")?;
    let pair = whole.start()?;
    let why = wait_for("the other of the pair to be held in vain", || {
        let held = whole.component("misbehaving")?;
        let why = held["reason"].as_str().unwrap_or_default().to_owned();
        Ok(why.contains("its group runs as one").then_some(why))
    })?;
    ensure!(why.contains("`scout`: ") && why.contains("leads it"), "{why}");
    ensure!(whole.hosts()?.is_empty());
    // Whoever can run it gets it.
    let other = single.spawn_by(single.command(&["run", "misbehaving"])?)?;
    ready("misbehaving")?;
    let told = "select count(*) from agent_events where event_type = 'agent.alert' and payload::text like '%group runs as one%'";
    ensure!(server.number("postgres", told)? > 0, "no event tells of it");
    ensure!(single.ok(&["send", "misbehaving", "echo alone"])?.contains("alone"));
    // And all of it, once it is to be had.
    ensure!(scout.stop()?.success() && other.stop()?.success());
    for agent in ["scout", "misbehaving"] {
        whole.until(agent, "ready")?;
    }
    ensure!(pair.stop()?.success(), "{}", whole.log());
    Ok(())
}

#[test]
fn what_runs_nowhere_since_the_first_of_its_group_runs_alone_is_an_alert_while_it_lasts() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let config = on(&server.url("postgres"));
    let group = "[groups.pair]\nagents = ['scout', 'misbehaving']\n";
    let whole = Home::new(&format!("{config}{group}"), &["scout", "misbehaving"])?;
    let single = Home::new(&config, &["scout", "misbehaving"])?;
    // Elsewhere nobody knows of a group. Its first, in the order of names, is led there on its own.
    let first = single.spawn_by(single.command(&["run", "misbehaving"])?)?;
    let ready = |agent: &str| {
        wait_for("it to be led on its own", || {
            Ok(single.component(agent).ok().filter(|found| found["state"] == "ready"))
        })
    };
    ready("misbehaving")?;
    let pair = whole.start()?;
    let alert = |over: bool| {
        wait_for("the alert, or its end", || {
            let alerts = whole.json(&["alert", "list", "--json"])?;
            let of_group = |alert: &&Value| alert["key"] == "scout:group";
            let found: Vec<_> =
                alerts.as_array().context("alerts")?.iter().filter(of_group).cloned().collect();
            ensure!(found.len() <= 1, "{alerts}");
            Ok(found.into_iter().find(|alert| alert["resolved_at"].is_null() != over))
        })
    };
    let told = alert(false)?;
    let text = told["text"].as_str().context("a text")?;
    ensure!(text.contains("it runs nowhere") && text.contains("`misbehaving` is had by another"), "{told}");
    // Who leads it need not be who leads the first.
    let other = single.spawn_by(single.command(&["run", "scout"])?)?;
    ready("scout")?;
    alert(true)?;
    // It runs nowhere again; and it is over when all of it is had here.
    ensure!(other.stop()?.success());
    alert(false)?;
    ensure!(first.stop()?.success());
    whole.until("scout", "ready")?;
    alert(true)?;
    let about =
        "select count(*) from agent_events where event_type = 'agent.alert' and agent_name = 'misbehaving'
                 and payload::text like '%runs nowhere%'";
    ensure!(server.number("postgres", about)? == 0, "who leads is not said to run nowhere");
    ensure!(pair.stop()?.success(), "{}", whole.log());
    Ok(())
}

#[test]
fn a_process_that_does_not_answer_is_named_and_hides_nobody() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let home = Home::new(&on(&server.url("postgres")), &["scout", "misbehaving"])?;
    let wedged = home.spawn_by(home.command(&["run", "scout"])?)?;
    let other = home.spawn_by(home.command(&["run", "misbehaving"])?)?;
    wait_for("both to be ready", || {
        let ready = |name| home.component(name).is_ok_and(|component| component["state"] == "ready");
        Ok((ready("scout") && ready("misbehaving")).then_some(()))
    })?;
    wedged.signal(Signal::SIGSTOP)?;
    let shown = home.cli(&["status"])?;
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    ensure!(shown.status.code() == Some(1) && text.contains("scout: does not answer"), "{text}");
    ensure!(home.component("misbehaving")?["state"] == "ready");
    other.stop()?;
    let alone = home.cli(&["status"])?;
    let text = String::from_utf8_lossy(&alone.stderr).into_owned();
    ensure!(alone.status.code() == Some(69) && text.contains("scout does not answer"), "{text}");
    wedged.signal(Signal::SIGCONT)?;
    ensure!(wedged.stop()?.success());
    Ok(())
}

#[test]
fn a_file_is_one_process_s_own() -> Result<()> {
    let home = Home::new(&quick(""), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    let second = home.cli(&["run", "scout"])?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    ensure!(second.status.code() == Some(75) && said.contains("one process's own"), "{said}");
    ensure!(said.contains(&format!("pid {}", daemon.pid())), "{said}");
    ensure!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn behind_a_proxy_a_refusal_proves_nothing_and_the_other_takes_over() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let mut proxy = Proxy::to(&server)?;
    // Long enough that a busy machine does not hold up the first for its whole margin.
    let on = |url: &str| on(url).replace("lead = \"2s\"", "lead = \"5s\"");
    let through = on(&proxy.url("postgres")).replace("[database]", "[database]\nproxied = true");
    let (first, second) = (
        Home::new(&through, &["scout", "misbehaving"])?,
        Home::new(&on(&server.url("postgres")), &["scout", "misbehaving"])?,
    );
    let leader = first.start_ready(&["scout", "misbehaving"])?;
    let stand_by = second.start()?;
    second.until("scout", "standby")?;
    proxy.refuse();
    wait_for("the second to start what the first had", || {
        let started = !second.hosts()?.is_empty();
        let runs = first.hosts()?;
        ensure!(!started || runs.is_empty(), "both run: {runs:?}");
        Ok(started.then_some(()))
    })?;
    second.until("scout", "ready")?;
    first.until("scout", "standby")?;
    // What is said of it now may already be the next failure to claim.
    ensure!(first.log().contains("could not be renewed in time"), "{}", first.log());
    proxy.serve()?;
    wait_for("the first to know who leads", || {
        let reason = first.component("scout")?["reason"].to_string();
        Ok(reason.contains("leads it").then_some(()))
    })?;
    ensure!(first.hosts()?.is_empty() && leader.stop()?.success() && stand_by.stop()?.success());
    Ok(())
}

#[test]
fn where_no_proxy_is_a_refusal_is_the_server_s_and_agents_stay_up() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let mut proxy = Proxy::to(&server)?;
    let home = Home::new(&on(&proxy.url("postgres")), &["scout"])?;
    let daemon = home.start_ready(&["scout"])?;
    let hosts = home.hosts()?;
    proxy.refuse();
    let began = Instant::now();
    wait_for("two leases' time", || {
        ensure!(home.hosts()? == hosts, "the agents were stopped");
        Ok((began.elapsed() > Duration::from_secs(5)).then_some(()))
    })?;
    proxy.serve()?;
    wait_for("messages to pass again", || Ok(reply(&home, "scout", ANALYZE).ok()))?;
    ensure!(home.hosts()? == hosts && daemon.stop()?.success());
    Ok(())
}

/// When the newest such change of scout was, in the form in which text order is time order.
fn moment(home: &Home, from: &str, to: &str) -> Result<String> {
    wait_for(&format!("{from} → {to}"), || {
        let history = home.json(&["agents", "history", "scout", "--json"])?;
        let newest =
            history.as_array().context("a history")?.iter().rfind(|t| t["from"] == from && t["to"] == to);
        Ok(newest.and_then(|transition| Some(transition["at"].as_str()?.to_owned())))
    })
}

/// The first leads on the second machine, the other stands by on the third.
fn apart(network: &Network, first: &Home, second: &Home) -> Result<(Daemon, Daemon)> {
    let start = |home: &Home, machine: usize| -> Result<Daemon> {
        let (mut there, run) = (network.on(machine), home.command(&["run"])?);
        there.arg(run.get_program()).args(run.get_args()).current_dir(home.path());
        home.spawn_by(there)
    };
    let leader = start(first, 2)?;
    wait_for("the first to lead", || Ok(first.component("scout").ok().filter(|c| c["state"] == "ready")))?;
    let stand_by = start(second, 3)?;
    wait_for("the second to stand by", || {
        Ok(second.component("scout").ok().filter(|c| c["state"] == "standby"))
    })?;
    ensure!(first.hosts()?.len() == 2 && second.hosts()?.is_empty());
    Ok((leader, stand_by))
}

#[test]
fn one_that_is_cut_off_stops_its_agents_before_the_other_starts_them() -> Result<()> {
    let Some(network) = Network::new(3)? else { return Ok(()) };
    let Some(server) = Postgres::start_on(network.on(1), &network.address(1))? else { return Ok(()) };
    let [first, second] = homes(&server.url("postgres"))?;
    let (leader, stand_by) = apart(&network, &first, &second)?;

    network.cut(2, true)?;
    wait_for("the second to start what the first had", || {
        let started = !second.hosts()?.is_empty();
        let runs = first.hosts()?;
        ensure!(!started || runs.is_empty(), "both run: {runs:?}");
        Ok(started.then_some(()))
    })?;
    second.until("scout", "ready")?;
    ensure!(reply(&second, "misbehaving", "echo there")? == "there");
    let alone = first.until("scout", "standby")?;
    ensure!(alone["reason"].as_str().is_some_and(|why| why.contains("lead")), "{alone}");
    let refused = first.cli(&["send", "misbehaving", "echo nobody", "--timeout", "1s"])?;
    ensure!(refused.status.code() == Some(75), "{refused:?}");

    // Back on the network it stands by, and takes over in its turn.
    network.cut(2, false)?;
    wait_for("the first to see who leads", || {
        let scout = first.component("scout")?;
        Ok(scout["reason"].as_str().is_some_and(|why| why.contains("leads it")).then_some(()))
    })?;
    // By one clock: nothing of the first was left when the second began.
    let ended = moment(&first, "draining", "standby")?;
    let began = moment(&second, "stopped", "starting")?;
    ensure!(ended < began, "the first ended at {ended}, the second began at {began}");
    ensure!(first.hosts()?.is_empty());
    ensure!(stand_by.stop()?.success());
    first.until("scout", "ready")?;
    ensure!(leader.stop()?.success());
    Ok(())
}

/// A refusal from another machine than the server says nothing of the server: it is no reason to go on.
#[test]
fn one_that_another_machine_refuses_in_the_servers_name_stops_its_agents_before_the_other_starts_them()
-> Result<()> {
    let Some(network) = Network::new(4)? else { return Ok(()) };
    let Some(server) = Postgres::start_on(network.on(1), &network.address(1))? else { return Ok(()) };
    // Long enough that a busy machine does not hold up the first for its whole margin.
    let config = on(&server.url("postgres")).replace("lead = \"2s\"", "lead = \"5s\"");
    let home = || Home::new(&config, &["scout", "misbehaving"]);
    let (first, second) = (home()?, home()?);
    let (leader, stand_by) = apart(&network, &first, &second)?;
    network.mislead(2, 4, true)?;
    wait_for("the second to start what the first had", || {
        let started = !second.hosts()?.is_empty();
        let runs = first.hosts()?;
        ensure!(!started || runs.is_empty(), "both run: {runs:?}");
        Ok(started.then_some(()))
    })?;
    second.until("scout", "ready")?;
    ensure!(reply(&second, "misbehaving", "echo there")? == "there");
    first.until("scout", "standby")?;
    let refused = first.cli(&["send", "misbehaving", "echo nobody", "--timeout", "1s"])?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(75) && said.contains("refused"), "{refused:?}");
    network.mislead(2, 4, false)?;
    wait_for("the first to see who leads", || {
        let scout = first.component("scout")?;
        Ok(scout["reason"].as_str().is_some_and(|why| why.contains("leads it")).then_some(()))
    })?;
    let ended = moment(&first, "draining", "standby")?;
    let began = moment(&second, "stopped", "starting")?;
    ensure!(ended < began, "the first ended at {ended}, the second began at {began}");
    ensure!(first.hosts()?.is_empty() && leader.stop()?.success() && stand_by.stop()?.success());
    Ok(())
}

#[test]
fn a_leader_that_stands_still_has_no_hosts_when_the_other_starts_its_agents() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    // Long enough that a busy machine does not hold up a host for its whole margin.
    let config = on(&server.url("postgres")).replace("lead = \"2s\"", "lead = \"5s\"");
    let home = || Home::new(&config, &["scout", "misbehaving"]);
    let (first, second) = (home()?, home()?);
    let leader = first.start_ready(&["scout", "misbehaving"])?;
    let stand_by = second.start()?;
    second.until("scout", "standby")?;
    leader.signal(Signal::SIGSTOP)?;
    wait_for("the second to start what the first had", || {
        let started = !second.hosts()?.is_empty();
        let runs = first.hosts()?;
        ensure!(!started || runs.is_empty(), "both run: {runs:?}");
        Ok(started.then_some(()))
    })?;
    leader.signal(Signal::SIGCONT)?;
    first.until("scout", "standby")?;
    ensure!(first.hosts()?.is_empty() && leader.stop()?.success() && stand_by.stop()?.success());
    Ok(())
}

#[test]
fn a_copied_home_is_another_one() -> Result<()> {
    let Some(server) = Postgres::start()? else { return Ok(()) };
    let [first, second] = homes(&server.url("postgres"))?;
    let leader = first.start_ready(&["scout", "misbehaving"])?;
    std::fs::copy(first.path().join("installation"), second.path().join("installation"))?;
    let twin = second.start()?;
    second.until("scout", "standby")?;
    ensure!(second.hosts()?.is_empty() && first.hosts()?.len() == 2);
    ensure!(twin.stop()?.success() && leader.stop()?.success());
    Ok(())
}
