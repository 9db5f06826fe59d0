//! Agents that start in order, fall together, and stop in reverse.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use openclaw_tests::daemon::Home;
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::{history, pid, quick, scout_answers};

/// The group, in its order. The impostor goes by its real name here.
const TEAM: [&str; 3] = ["milkbot", "misbehaving", "somebody-else"];

fn team(strategy: &str) -> Result<Home> {
    let config = format!(
        "[agents.milkbot]\n[agents.misbehaving]\n[agents.somebody-else]\nlibrary = \"libimpostor.so\"\n\
         [groups.team]\nstrategy = \"{strategy}\"\nagents = {TEAM:?}\n"
    );
    Home::new(&quick(&config), &["scout", "milkbot", "misbehaving", "impostor"])
}

/// Kills the one in the middle; answers which of the team got a new process.
fn fallen(strategy: &str) -> Result<Vec<&'static str>> {
    let home = team(strategy)?;
    let _daemon = home.start_ready(&["scout"])?;
    for name in TEAM {
        home.until(name, "ready")?;
    }
    let before = TEAM.iter().map(|name| pid(&home, name)).collect::<Result<Vec<_>>>()?;
    let scout = pid(&home, "scout")?;
    kill(Pid::from_raw(before[1]), Signal::SIGKILL)?;
    let expected: &[&str] = match strategy {
        "one_for_one" => &TEAM[1..2],
        "one_for_all" => &TEAM,
        _ => &TEAM[1..],
    };
    wait_for("those that fall to be ready again", || {
        let mut all = true;
        for name in TEAM {
            let seen = home.component(name)?;
            let new = !expected.contains(&name) || seen["restarts"] == 1;
            all &= new && seen["state"] == "ready";
        }
        Ok(all.then_some(()))
    })?;
    let mut fallen = Vec::new();
    for (name, before) in TEAM.into_iter().zip(before) {
        if pid(&home, name)? != before {
            fallen.push(name);
            assert_eq!(home.component(name)?["restarts"], 1, "{name}");
        } else {
            assert_eq!(home.component(name)?["restarts"], 0, "{name}");
        }
        let reason = format!("it falls with `{}`", TEAM[1]);
        let told = history(&home, name)?.iter().any(|step| step["reason"] == *reason);
        assert_eq!(told, name != TEAM[1] && fallen.contains(&name), "{name}");
    }
    assert_eq!(pid(&home, "scout")?, scout);
    scout_answers(&home)?;
    Ok(fallen)
}

#[test]
fn one_for_one() -> Result<()> {
    assert_eq!(fallen("one_for_one")?, ["misbehaving"]);
    Ok(())
}

#[test]
fn one_for_all() -> Result<()> {
    assert_eq!(fallen("one_for_all")?, TEAM);
    Ok(())
}

#[test]
fn rest_for_one() -> Result<()> {
    assert_eq!(fallen("rest_for_one")?, ["misbehaving", "somebody-else"]);
    Ok(())
}

/// When an agent last came into a state.
fn when(history: &[Value], state: &str) -> Result<String> {
    let step = history.iter().rfind(|step| step["to"] == state).with_context(|| format!("never {state}"))?;
    Ok(step["at"].as_str().context("a time")?.to_owned())
}

#[test]
fn they_start_in_order_and_stop_in_reverse() -> Result<()> {
    let home = team("one_for_one")?;
    let daemon = home.start_ready(&TEAM)?;
    let started = TEAM.iter().map(|name| history(&home, name)).collect::<Result<Vec<_>>>()?;
    for pair in started.windows(2) {
        let (ready, starting) = (when(&pair[0], "ready")?, when(&pair[1], "starting")?);
        assert!(ready <= starting, "{ready} is after {starting}");
    }
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&TEAM)?;
    let stopped = TEAM.iter().map(|name| history(&home, name)).collect::<Result<Vec<_>>>()?;
    for pair in stopped.windows(2) {
        let (gone, draining) = (when(&pair[1], "stopped")?, when(&pair[0], "draining")?);
        assert!(gone <= draining, "{gone} is after {draining}");
    }
    Ok(())
}

#[test]
fn one_that_is_refused_does_not_keep_the_rest_from_starting() -> Result<()> {
    let home = team("one_for_one")?;
    std::fs::write(home.path().join("agents/libmilkbot.so"), "nothing")?;
    let _daemon = home.start_ready(&TEAM[1..])?;
    home.until(TEAM[0], "refused")?;
    Ok(())
}
