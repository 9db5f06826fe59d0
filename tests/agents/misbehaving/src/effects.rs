//! Effects outside the process, which a test can count.

use std::fs::{OpenOptions, read_to_string};
use std::io::Write;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use openclaw_agent_api::prelude::*;

use crate::crash::sleep;

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
    let there = count(path, |_| true)?;
    if there < lines {
        return Err(AgentError::failed(format!("{there} of {lines} tries")));
    }
    Ok(format!("done after {there} tries"))
}

/// Appends `line`; an error until it stands there `times` times. Other lines may stand between.
pub fn insist(path: &str, times: usize, line: &str) -> Result<String> {
    append(path, line)?;
    let there = count(path, |other| other == line)?;
    if there < times {
        return Err(AgentError::failed(format!("{there} of {times} tries")));
    }
    Ok(format!("done after {there} tries"))
}

/// An effect with a beginning and an end.
pub fn span(path: &str, time: Duration, line: &str) -> Result<String> {
    append(path, &format!("{line}("))?;
    sleep(time);
    append(path, &format!("{line})"))?;
    Ok(line.into())
}

/// Slow the first time only.
pub fn linger(path: &str, time: Duration) -> Result<String> {
    append(path, "here")?;
    if count(path, |_| true)? == 1 {
        sleep(time);
    }
    Ok("gone".into())
}

/// Appends a line and waits for those of others: proof that they are at work at the same time.
pub fn meet(path: &str, others: usize) -> Result<String> {
    append(path, "here")?;
    let since = Instant::now();
    while count(path, |_| true)? < others {
        if since.elapsed() > Duration::from_secs(60) {
            return Err(AgentError::invalid("nobody came"));
        }
        sleep(Duration::from_millis(1));
    }
    Ok("met".into())
}

fn count(path: &str, which: impl Fn(&str) -> bool) -> Result<usize> {
    Ok(read_to_string(path)?.lines().filter(|line| which(line)).count())
}

/// Leaves a child that outlives the handler, and holds all of the three standard descriptors: the supervisor's end of
/// the socket sees no EOF until the child is gone too.
pub fn fork() -> Result<Child> {
    Ok(Command::new("sleep").arg("1000").spawn()?)
}
