//! `openclaw agents`

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Level;
use serde::Deserialize;
use serde_json::Value;
use settings::{Inputs, Paths};
use supervisor::logs::{self, Line};
use supervisor::policy::Transition;

use super::keys::{self, KeygenArgs, SignArgs};
use super::table::{ago, judged, short, table};
use super::{grants, heartbeats, libraries, print, print_json};
use crate::control::client::Client;
use crate::control::{Action, Ask, Settled};
use crate::exit::{Code, Failure};
use crate::status::{Component, Document};

/// `openclaw agents`
#[derive(Subcommand)]
pub enum AgentsCommand {
    /// Every agent: state, version, what it does
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Start an agent; an open breaker lets it try at once
    Start(One),
    /// Let an agent finish what it has in work, and stop it; it stays so until it is started again
    Stop(One),
    /// Let an agent finish what it has in work, and give it a new process
    Restart {
        #[command(flatten)]
        one: One,
        /// Why, for the history
        #[arg(long)]
        reason: Option<String>,
    },
    /// Replace an agent, while it works, by the file that the agents folder has now, and wait for the verdict
    #[command(
        after_help = "The new version starts beside the old one and takes over once it is ready. If it fails, \
                            the old one goes on;\nif it fails within `probation`, the old one comes back by itself."
    )]
    Reload(Which),
    /// Put a library into the agents folder, and reload its agent
    Load {
        /// The library, called lib`NAME`.so; its signature beside it is taken along
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Go back to an older library
    Rollback {
        #[command(flatten)]
        one: One,
        /// How its hash begins [default: the last good one; see `openclaw agents libraries`]
        hash: Option<String>,
    },
    /// The libraries that are kept of an agent, newest first, and what became of each
    Libraries(One),
    /// What an agent said: its own lines, and what it printed
    Logs {
        /// Which
        name: AgentName,
        /// The last so many lines
        #[arg(long, short = 'n', default_value_t = 50)]
        lines: usize,
        /// Go on as lines come, until Ctrl-C
        #[arg(long, short)]
        follow: bool,
        /// As JSON lines
        #[arg(long)]
        json: bool,
    },
    /// What became of an agent, newest last: states, who or what changed them, why
    History {
        /// Which
        name: String,
        /// The last so many transitions
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What was thought of an agent, in whichever process it runs, newest last: each change, and a sample a minute
    Heartbeats {
        /// Which
        name: String,
        /// The last so many
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// What an agent may ask the daemon for, and what it did with that today
    Grants {
        /// Which
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the pair of keys that libraries are signed with
    Keygen(KeygenArgs),
    /// Sign libraries, for `trust = "signed"`
    Sign(SignArgs),
}

/// One agent.
#[derive(Args)]
pub struct One {
    /// Which
    pub name: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// One agent, or all.
#[derive(Args)]
pub struct Which {
    /// Which
    #[arg(required_unless_present = "all")]
    pub name: Option<String>,
    /// All, one after another
    #[arg(long, conflicts_with = "name")]
    pub all: bool,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Carries the command out.
pub fn run(inputs: &Inputs, command: AgentsCommand) -> Result<(), Failure> {
    match command {
        AgentsCommand::List { json } => list(inputs, json),
        AgentsCommand::Start(one) => act(inputs, one, Action::Start, None),
        AgentsCommand::Stop(one) => act(inputs, one, Action::Stop, None),
        AgentsCommand::Restart { one, reason } => act(inputs, one, Action::Restart, reason),
        AgentsCommand::Reload(which) => libraries::reload(inputs, which),
        AgentsCommand::Load { file, json } => libraries::load(inputs, &file, json),
        AgentsCommand::Rollback { one, hash } => libraries::rollback(inputs, one, hash),
        AgentsCommand::Libraries(one) => libraries::list(inputs, one),
        AgentsCommand::Logs { name, lines, follow, json } => show_logs(inputs, &name, lines, follow, json),
        AgentsCommand::History { name, limit, json } => history(inputs, name, limit, json),
        AgentsCommand::Heartbeats { name, limit, json } => heartbeats::list(inputs, name, limit, json),
        AgentsCommand::Grants { name, json } => grants::show(inputs, name, json),
        AgentsCommand::Keygen(args) => keys::keygen(inputs, args),
        AgentsCommand::Sign(args) => keys::sign(inputs, args),
    }
}

fn list(inputs: &Inputs, json: bool) -> Result<(), Failure> {
    let document: Document = Client::connect(inputs)?.status()?;
    let now = document.daemon.now;
    let agents: Vec<Component> = document.components.into_iter().filter(|c| c.kind == "agent").collect();
    if json {
        return print_json(&agents);
    }
    if agents.is_empty() {
        return print("no agents: add [agents.NAME] to the config");
    }
    let on_terminal = stdout().is_terminal();
    let mut table = table(&["name", "state", "version", "since", "what it does"], on_terminal);
    for agent in &agents {
        table.add_row([
            agent.name.as_str().into(),
            judged(&agent.state, on_terminal),
            agent.version.as_deref().unwrap_or("-").into(),
            ago(Some(agent.since), now).into(),
            short(agent.description.as_deref().unwrap_or(&agent.reason), 120).into(),
        ]);
    }
    print(&table.to_string())
}

fn act(inputs: &Inputs, one: One, action: Action, reason: Option<String>) -> Result<(), Failure> {
    let settled: Settled =
        Client::connect(inputs)?.ask(Ask::Agent { name: one.name, action, reason, actor: None })?;
    if one.json {
        print_json(&settled)?;
    }
    let Settled { name, state, reason } = settled;
    let reached = match action {
        Action::Stop => state == "stopped",
        Action::OpenBreaker => state == "open",
        Action::Start | Action::Restart | Action::CloseBreaker => state == "ready" || state == "half_open",
    };
    match (reached, one.json) {
        (true, true) => Ok(()),
        (true, false) => print(&format!("{name} is {state}")),
        (false, _) => Err(Failure::new(Code::Failed, format!("{name} is {state}: {reason}"))),
    }
}

fn history(inputs: &Inputs, name: String, limit: u32, json: bool) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Event {
        payload: Transition,
    }
    let mut client = Client::connect(inputs)?;
    if json {
        let events: Vec<Value> = client.ask(Ask::History { name, limit })?;
        return print_json(
            &events.into_iter().rev().map(|mut event| event["payload"].take()).collect::<Vec<_>>(),
        );
    }
    let events: Vec<Event> = client.ask(Ask::History { name, limit })?;
    if events.is_empty() {
        return print("nothing has happened yet");
    }
    let mut table = table(&["when", "from", "to", "by", "why"], stdout().is_terminal());
    for Event { payload: transition } in events.into_iter().rev() {
        let Transition { from, to, actor, reason, at } = transition;
        table.add_row([at.format("%F %T%.3f").to_string(), from, to, actor, reason]);
    }
    print(&table.to_string())
}

/// Read from the files, so that it works without a daemon too.
fn show_logs(
    inputs: &Inputs,
    name: &AgentName,
    most: usize,
    follow: bool,
    json: bool,
) -> Result<(), Failure> {
    let path = logs::file(&Paths::resolve(inputs)?.logs, name);
    let failed = |error: &std::io::Error| {
        let why =
            format!("there is no log of `{name}` ({}: {error}); `openclaw agents list`", path.display());
        Failure::new(Code::Unavailable, why)
    };
    let mut last = VecDeque::new();
    for file in [path.with_extension("log.1"), path.clone()] {
        let Ok(file) = File::open(file) else { continue };
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            last.push_back(line);
            if last.len() > most {
                last.pop_front();
            }
        }
    }
    if last.is_empty() {
        File::open(&path).map_err(|error| failed(&error))?;
    }
    last.iter().try_for_each(|line| show_line(line, json))?;
    if follow { follow_file(&path, json) } else { Ok(()) }
}

fn follow_file(path: &Path, json: bool) -> Result<(), Failure> {
    use std::io::Seek;
    use std::os::unix::fs::MetadataExt;
    let failed = |error: std::io::Error| Failure::of(Code::Io, &error);
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    file.seek(std::io::SeekFrom::End(0)).map_err(failed)?;
    let (mut line, mut inode) = (String::new(), file.get_ref().metadata().map_err(failed)?.ino());
    loop {
        while file.read_line(&mut line).map_err(failed)? > 0 {
            if line.ends_with('\n') {
                show_line(line.trim_end(), json)?;
                line.clear();
            }
        }
        #[allow(clippy::disallowed_methods, reason = "a person watches, and this is the pace")]
        std::thread::sleep(Duration::from_millis(200));
        // Set aside for being full: go on with the new one.
        if let Ok(now) = std::fs::metadata(path)
            && now.ino() != inode
        {
            inode = now.ino();
            file = BufReader::new(File::open(path).map_err(failed)?);
        }
    }
}

fn show_line(line: &str, json: bool) -> Result<(), Failure> {
    if json {
        return print(line);
    }
    let Ok(line) = serde_json::from_str::<Line>(line) else { return print(line) };
    let level = match line.level {
        Level::Error => "ERROR",
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
    };
    let at = line.at.format("%F %T%.3f");
    print(&format!("{at} {level:<5} {:<10} {}", line.source, line.text))
}
