//! `openclaw agents reload`, `load`, `rollback` and `libraries`.

use std::fs;
use std::io::{IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use openclaw_agent_api::AgentName;
use settings::{Inputs, Paths};
use supervisor::library::Verdict;
use supervisor::library::trust::beside;

use super::agents::{One, Which};
use super::table::{ago, short, table};
use super::{print, print_json};
use crate::control::client::Client;
use crate::control::{Ask, Kept, Reloaded};
use crate::exit::{Code, Failure};
use crate::status::{Component, Document};

/// How long a library that is put into the agents folder may take to become an agent.
const DISCOVERY: Duration = Duration::from_secs(15);

/// `openclaw agents reload`
pub fn reload(inputs: &Inputs, which: Which) -> Result<(), Failure> {
    let mut client = Client::connect(inputs)?;
    let Some(name) = which.name else {
        let document: Document = client.status()?;
        let agents = document.components.into_iter().filter(|component| component.kind == "agent");
        let (mut failed, mut all) = (Vec::new(), Vec::new());
        for agent in agents {
            match client.ask::<Reloaded>(Ask::Reload { name: agent.name.clone(), actor: None }).and_then(well)
            {
                Ok(reloaded) if which.json => all.push(reloaded),
                Ok(reloaded) => print(&format!("{}: {}", agent.name, reloaded.verdict))?,
                Err(failure) => failed.push(format!("{}: {failure}", agent.name)),
            }
        }
        if which.json {
            print_json(&all)?;
        }
        return if failed.is_empty() { Ok(()) } else { Err(Failure::new(Code::Failed, failed.join("\n"))) };
    };
    show(client.ask(Ask::Reload { name, actor: None })?, which.json)
}

/// `openclaw agents rollback`
pub fn rollback(inputs: &Inputs, one: One, to: Option<String>) -> Result<(), Failure> {
    show(Client::connect(inputs)?.ask(Ask::Rollback { name: one.name, to, actor: None })?, one.json)
}

/// `openclaw agents load`: puts a file where an agent's library is, and reloads.
pub fn load(inputs: &Inputs, file: &Path, json: bool) -> Result<(), Failure> {
    let mut client = Client::connect(inputs)?;
    let document: Document = client.status()?;
    let wrong = |what: String| Failure::new(Code::Usage, what);
    let file_name =
        file.file_name().ok_or_else(|| wrong(format!("{} is no file: name a library", file.display())))?;
    let theirs = |component: &&Component| {
        component.library.as_ref().is_some_and(|library| library.file.file_name() == Some(file_name))
    };
    let mut known = document.components.iter().filter(theirs);
    let (known, other) = (known.next(), known.next());
    if let (Some(one), Some(other)) = (known, other) {
        return Err(wrong(format!(
            "both {} and {} have a library of that name: copy it where it belongs, then `openclaw agents reload` its agent",
            one.name, other.name
        )));
    }
    if let Some(Component { name, library: Some(library), .. }) = known {
        put(file, &library.file)?;
        return show(client.ask(Ask::Reload { name: name.clone(), actor: None })?, json);
    }
    let shown = file_name.to_string_lossy();
    let name = shown.strip_prefix("lib").and_then(|rest| rest.strip_suffix(".so"));
    let name = name.and_then(|name| name.replace('_', "-").parse::<AgentName>().ok());
    let Some(name) = name else {
        return Err(wrong(format!("{} is no agent's library: call it lib<name>.so", file.display())));
    };
    if !document.daemon.discover {
        return Err(wrong(format!(
            "no agent has the library {shown}: add [agents.{name}] to the config, or set agents.discover = true"
        )));
    }
    put(file, &Paths::resolve(inputs)?.agents.join(file_name))?;
    show(discovered(&mut client, &name)?, json)
}

/// Waits until the daemon has taken up a new agent, or says why it does not.
fn discovered(client: &mut Client, name: &AgentName) -> Result<Reloaded, Failure> {
    let until = Instant::now() + DISCOVERY;
    loop {
        match client.ask(Ask::Reload { name: name.to_string(), actor: None }) {
            Err(failure) if failure.code == Code::Usage && Instant::now() < until => {
                #[allow(clippy::disallowed_methods, reason = "the pace of looking")]
                std::thread::sleep(Duration::from_millis(50));
            }
            answer => return answer,
        }
    }
}

/// Beside, then moved over: nobody ever sees half a library. The signature goes first, where there is one; nothing is
/// touched before both are there.
fn put(file: &Path, target: &Path) -> Result<(), Failure> {
    let failed = |what: &str, path: &Path, error: &std::io::Error| {
        Failure::new(Code::Io, format!("cannot {what} {}: {error}", path.display()))
    };
    fs::metadata(file).map_err(|error| failed("read", file, &error))?;
    if fs::canonicalize(file).ok() == fs::canonicalize(target).ok() {
        return Ok(());
    }
    let copied = |from: &Path, to: &Path| {
        let mut new = to.to_path_buf().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let copied = fs::copy(from, &new).inspect_err(|_| drop(fs::remove_file(&new)));
        copied.map(|_| new).map_err(|error| failed("write", to, &error))
    };
    let (signature, place) = (beside(file), beside(target));
    let library = copied(file, target)?;
    let signature = if signature.exists() {
        Some(copied(&signature, &place).inspect_err(|_| drop(fs::remove_file(&library)))?)
    } else {
        None
    };
    let moved = match signature {
        Some(signature) => fs::rename(signature, &place),
        // That of the last library does not fit this one.
        None => fs::remove_file(&place).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    };
    moved.and_then(|()| fs::rename(&library, target)).map_err(|error| failed("write", target, &error))
}

/// `openclaw agents libraries`
pub fn list(inputs: &Inputs, one: One) -> Result<(), Failure> {
    let kept: Vec<Kept> = Client::connect(inputs)?.ask(Ask::Libraries { name: one.name })?;
    if one.json {
        return print_json(&kept);
    }
    if kept.is_empty() {
        return print("none yet: the agent has not run");
    }
    let now = chrono::Utc::now();
    let mut table = table(&["hash", "version", "first seen", "verdict", ""], stdout().is_terminal());
    for Kept { entry, running } in kept {
        let verdict = match &entry.verdict {
            Verdict::Untried => "untried".to_owned(),
            Verdict::Good => "good".into(),
            Verdict::Left { reason } => format!("left: {}", short(reason, 120)),
            Verdict::Bad { reason } => format!("bad: {}", short(reason, 120)),
        };
        table.add_row([
            entry.hash.short().to_owned(),
            entry.version.unwrap_or_else(|| "-".into()),
            ago(Some(entry.first_seen), now),
            verdict,
            if running { "runs".into() } else { String::new() },
        ]);
    }
    print(&table.to_string())
}

fn show(reloaded: Reloaded, json: bool) -> Result<(), Failure> {
    if json {
        print_json(&reloaded)?;
    }
    let reloaded = well(reloaded)?;
    if json { Ok(()) } else { print(&format!("{}: {}", reloaded.name, reloaded.verdict)) }
}

/// It runs, or is not meant to.
fn well(reloaded: Reloaded) -> Result<Reloaded, Failure> {
    match reloaded.state.as_str() {
        "ready" | "half_open" | "stopped" => Ok(reloaded),
        state => Err(Failure::new(
            Code::Failed,
            format!("{} is {state}: {} ({})", reloaded.name, reloaded.reason, reloaded.verdict),
        )),
    }
}
