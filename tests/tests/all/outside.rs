//! An agent whose author has only the README and `openclaw-agent-api`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use openclaw_tests::daemon::Home;

const README: &str = include_str!("../../../README.md");

/// The README's code block that begins with the comment `begins`.
fn block(language: &str, begins: &str) -> Result<String> {
    let opening = format!("```{language}\n{begins}\n");
    let (_, rest) = README.split_once(&opening).with_context(|| format!("no `{begins}` in the README"))?;
    Ok(rest.split_once("```").context("its end")?.0.to_owned())
}

#[test]
fn the_readmes_agent_is_built_outside_the_workspace_and_answers() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let manifest = block("toml", "# Cargo.toml")?;
    let agent = block("rust", "// src/lib.rs")?;
    assert!(agent.lines().count() < 30, "an agent that replies is under 30 lines");

    let home = Home::new("[agents.echo]", &[])?;
    let folder = home.path().join("echo");
    fs::create_dir_all(folder.join("src"))?;
    let api = workspace.join("agent-api").display().to_string();
    assert!(manifest.contains("/path/to/openclaw/agent-api"), "{manifest}");
    fs::write(folder.join("Cargo.toml"), manifest.replace("/path/to/openclaw/agent-api", &api))?;
    fs::write(folder.join("src/lib.rs"), agent)?;
    // The same versions, so that a build without a network finds them.
    fs::copy(workspace.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--offline", "--quiet"]).current_dir(&folder);
    build.env("CARGO_TARGET_DIR", folder.join("target")).env("CARGO_PROFILE_DEV_DEBUG", "0");
    let built = build.output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::copy(folder.join("target/debug/libecho.so"), home.path().join("agents/libecho.so"))?;

    let daemon = home.start_ready(&["echo"])?;
    assert_eq!(home.ok(&["send", "echo", "hello"])?.trim(), "you said: hello");
    let status = home.component("echo")?;
    assert_eq!(status["version"], "0.1.0", "its own: {status}");
    assert!(daemon.stop()?.success());
    Ok(())
}
