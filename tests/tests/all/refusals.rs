//! Libraries and settings that can never work: refused in a sentence, and nobody else notices.

use std::fs;

use anyhow::{Context, Result};
use openclaw_tests::daemon::Home;
use serde_json::Value;

use crate::support::{assert_sentence, fails, history, pid, quick, scout_answers, states};

/// Refused, in one sentence that names `names`, and not tried again.
#[track_caller]
fn assert_refused(home: &Home, agent: &str, names: &[&str]) -> Result<()> {
    let component = home.until(agent, "refused").with_context(|| home.log())?;
    assert_eq!(component["health"], "failed", "{component}");
    assert_eq!(component["last_exit"]["class"], "refused", "{component}");
    assert_eq!((&component["restarts"], &component["pid"]), (&0.into(), &Value::Null), "{component}");
    let reason = component["reason"].as_str().context("a reason")?;
    assert_sentence(reason, names);
    assert_sentence(component["last_exit"]["detail"].as_str().context("a detail")?, names);
    assert_eq!(states(&history(home, agent)?), ["starting", "refused"]);
    Ok(())
}

/// Cuts a library to a share of its length.
fn cut(home: &Home, library: &str, name: &str, percent: usize) -> Result<()> {
    let path = home.install(library, name)?;
    let whole = fs::read(&path)?;
    Ok(fs::write(path, &whole[..whole.len() * percent / 100])?)
}

#[test]
fn files_that_are_no_agents_are_refused_and_the_others_run() -> Result<()> {
    let broken =
        ["missing", "text", "empty", "cut10", "cut50", "cut99", "folder", "bare", "alien", "impostor"];
    let tables: String = broken.iter().map(|name| format!("[agents.{name}]\n")).collect();
    let home = Home::new(&quick(&tables), &["scout", "bare", "alien", "impostor"])?;
    let agents = home.path().join("agents");
    fs::write(agents.join("libtext.so"), "Not a library,\nbut a letter.\n")?;
    fs::write(agents.join("libempty.so"), "")?;
    fs::create_dir(agents.join("libfolder.so"))?;
    for percent in [10, 50, 99] {
        cut(&home, "misbehaving", &format!("cut{percent}"), percent)?;
    }
    let daemon = home.start_ready(&["scout"])?;
    let scout = pid(&home, "scout")?;

    assert_refused(&home, "missing", &["libmissing.so", "there is no library", "build the agent"])?;
    assert_refused(
        &home,
        "text",
        &["libtext.so", "no 64-bit ELF library", "Not a library", "copy it again"],
    )?;
    assert_refused(&home, "empty", &["libempty.so", "it is empty", "copy it again"])?;
    for name in ["cut10", "cut50", "cut99"] {
        assert_refused(&home, name, &[&format!("lib{name}.so"), "cut short", "copy it again"])?;
    }
    assert_refused(&home, "folder", &["libfolder.so", "no regular file", "copy the library there"])?;
    assert_refused(&home, "bare", &["libbare.so", "export_agent!"])?;
    assert_refused(&home, "alien", &["libalien.so", "another layout", "build it again"])?;
    assert_refused(&home, "impostor", &["`somebody-else`", "not `impostor`", "agents.impostor.library"])?;

    // Trying again by hand is refused again, and says so.
    let said = fails(&home, 1, &["agents", "start", "text"])?;
    assert!(said.contains("text is refused") && said.contains("libtext.so"), "{said}");
    let said = fails(&home, 1, &["agents", "restart", "alien"])?;
    assert!(said.contains("alien is refused") && said.contains("libalien.so"), "{said}");
    assert_eq!(home.component("text")?["restarts"], 0);

    // Status tells all of it, and that not all is well.
    let output = home.cli(&["status"])?;
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert!(table.contains("libmissing.so") && table.contains("libcut99.so"), "{table}");

    scout_answers(&home)?;
    assert_eq!((pid(&home, "scout")?, &home.component("scout")?["restarts"]), (scout, &0.into()));
    assert!(daemon.stop()?.success());
    assert_eq!(home.hosts()?, Vec::<i32>::new());
    Ok(())
}

#[test]
fn a_mended_file_is_started_by_hand() -> Result<()> {
    let home = Home::new(&quick("[agents.misbehaving]\n[agents.milkbot]\n"), &["scout"])?;
    cut(&home, "misbehaving", "misbehaving", 50)?;
    let _daemon = home.start_ready(&["scout"])?;
    home.until("misbehaving", "refused")?;
    home.until("milkbot", "refused")?;

    home.install("misbehaving", "misbehaving")?;
    assert_eq!(home.ok(&["agents", "start", "misbehaving"])?.trim(), "misbehaving is ready");
    assert_eq!(home.ok(&["send", "misbehaving", "echo mended"])?.trim(), "mended");
    let mended = home.component("misbehaving")?;
    assert_eq!((&mended["state"], &mended["reason"]), (&"ready".into(), &"ready".into()), "{mended}");

    // A restart is as good as a start, and a task that came meanwhile has waited.
    let sent = home.json(&["send", "milkbot", "/help", "--no-wait", "--json"])?;
    assert_eq!(sent["state"], "queued");
    home.install("milkbot", "milkbot")?;
    home.ok(&["agents", "restart", "milkbot"])?;
    let id = sent["task_id"].as_str().context("an id")?;
    assert_eq!(crate::support::ended(&home, id)?["state"], "done");
    Ok(())
}

#[test]
fn what_the_config_gets_wrong_of_an_agent_is_refused_until_it_is_mended() -> Result<()> {
    let config = |settings: &str, grants: &str| {
        quick(&format!("[agents.misbehaving]\nsettings = {settings}\n[agents.atlas]\ngrants = {grants}\n"))
    };
    let agents = ["scout", "misbehaving", "atlas"];
    let home = Home::new(&config("{ greeting = 5 }", r#"["system", "memory"]"#), &agents)?;
    let daemon = home.start_ready(&["scout"])?;
    assert_refused(&home, "misbehaving", &["agents.misbehaving.settings.greeting", "5", "mend the config"])?;
    assert_refused(&home, "atlas", &["`supervisor.status`", "agents.atlas.grants", "add it"])?;
    scout_answers(&home)?;
    assert!(daemon.stop()?.success());

    // The daemon takes the mended config with its next start.
    home.configure(&config(r#"{ greeting = "hello" }"#, r#"["system", "memory", "supervisor"]"#))?;
    let _daemon = home.start_ready(&agents)?;
    assert_eq!(home.ok(&["send", "misbehaving", "greet"])?.trim(), "hello");
    Ok(())
}

#[test]
fn a_refusal_is_one_bearable_sentence_however_much_is_wrong() -> Result<()> {
    let long = format!("no mode\\n{}", "x".repeat(20_000));
    let own = format!("[agents.misbehaving]\nsettings = {{ start = \"{long}\", grating = 1 }}\n");
    let home = Home::new(&quick(&own), &["scout", "misbehaving"])?;
    let _daemon = home.start_ready(&["scout"])?;
    assert_refused(&home, "misbehaving", &["agents.misbehaving.settings", "mend the config"])
}
