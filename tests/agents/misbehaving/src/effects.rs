//! Effects outside the process, which a test can count.

use std::fs::{OpenOptions, read};
use std::io::Write;
use std::process::{Child, Command};

use openclaw_agent_api::prelude::*;

/// Appends `line` in one write, so that lines of several processes never mix.
pub fn append(path: &str, line: &str) -> Result<()> {
    let line = format!("{line}\n");
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    let written = file.write(line.as_bytes())?;
    if written < line.len() {
        return Err(AgentError::failed(format!("only {written} of {} bytes went to {path}", line.len())));
    }
    Ok(())
}

/// Appends a line; an error until there are `lines`.
pub fn fail_until(path: &str, lines: usize) -> Result<String> {
    append(path, "tried")?;
    let there = read(path)?.iter().filter(|byte| **byte == b'\n').count();
    if there < lines {
        return Err(AgentError::failed(format!("{there} of {lines} tries")));
    }
    Ok(format!("done after {there} tries"))
}

/// Leaves a child that outlives the handler, and holds all of the three standard descriptors: the supervisor's end of
/// the socket sees no EOF until the child is gone too.
pub fn fork() -> Result<Child> {
    Ok(Command::new("sleep").arg("1000").spawn()?)
}
