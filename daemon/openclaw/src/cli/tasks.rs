//! `openclaw tasks`

use std::io::{IsTerminal, stdout};

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use settings::Inputs;
use store::task::{Filter, TaskId, TaskState};

use super::table::{ago, judged, printable, short, table};
use super::{print, print_json};
use crate::control::Ask;
use crate::control::client::Client;
use crate::exit::Failure;

/// `openclaw tasks`
#[derive(Subcommand)]
pub enum TasksCommand {
    /// Tasks, newest first; `--state failed` lists the dead letters
    List {
        /// Only of this agent
        #[arg(long, short)]
        agent: Option<String>,
        /// Only in this state: queued, leased, done, failed, cancelled
        #[arg(long, short)]
        state: Option<TaskState>,
        /// Only of this session
        #[arg(long)]
        session: Option<String>,
        /// At most so many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Everything about one task
    Show {
        /// Which
        id: TaskId,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Queue a failed or cancelled task anew
    Retry {
        /// Which
        id: TaskId,
    },
    /// Cancel a task that is not in work
    Cancel {
        /// Which
        id: TaskId,
    },
}

/// A task, as the daemon shows it.
#[derive(Debug, Serialize, Deserialize)]
struct Task {
    id: TaskId,
    queue: String,
    kind: String,
    state: TaskState,
    session: Option<String>,
    attempts: u32,
    max_attempts: u32,
    run_at: DateTime<Utc>,
    payload: Value,
    result: Option<Value>,
    error: Option<String>,
    source: String,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

/// Lists, shows, retries or cancels.
pub fn run(inputs: &Inputs, command: TasksCommand) -> Result<(), Failure> {
    let mut client = Client::connect(inputs)?;
    match command {
        TasksCommand::List { agent, state, session, limit, json } => {
            let tasks: Vec<Task> = client.ask(Ask::Tasks(Filter { queue: agent, state, session, limit }))?;
            if json { print_json(&tasks) } else { print(&list(&tasks, stdout().is_terminal())) }
        }
        TasksCommand::Show { id, json } => {
            let task: Task = client.ask(Ask::Task { id })?;
            if json { print_json(&task) } else { print(&show(&task)) }
        }
        TasksCommand::Retry { id } => {
            let agent: String = client.ask(Ask::Retry { id })?;
            print(&format!("{id} is queued again for {agent}"))
        }
        TasksCommand::Cancel { id } => {
            let agent: String = client.ask(Ask::Cancel { id })?;
            print(&format!("{id} for {agent} is cancelled"))
        }
    }
}

fn list(tasks: &[Task], on_terminal: bool) -> String {
    if tasks.is_empty() {
        return "no tasks".into();
    }
    let mut table = table(&["id", "agent", "state", "tries", "created", "text", "error"], on_terminal);
    for task in tasks {
        table.add_row([
            task.id.to_string().into(),
            task.queue.as_str().into(),
            judged(task.state.as_str(), on_terminal),
            format!("{}/{}", task.attempts, task.max_attempts).into(),
            ago(Some(task.created_at), Utc::now()).into(),
            short(task.payload["text"].as_str().unwrap_or_default(), 40).into(),
            short(task.error.as_deref().unwrap_or_default(), 60).into(),
        ]);
    }
    table.to_string()
}

fn show(task: &Task) -> String {
    let mut lines = vec![
        format!("id        {}", task.id),
        format!("agent     {}", task.queue),
        format!("state     {}, {} of {} tries", task.state, task.attempts, task.max_attempts),
        format!("from      {}, {}", task.source, ago(Some(task.created_at), Utc::now())),
    ];
    let mut add = |name: &str, text: Option<String>| {
        lines.extend(text.filter(|text| !text.is_empty()).map(|text| format!("{name:<10}{text}")));
    };
    let waits = task.state == TaskState::Queued && task.run_at > Utc::now();
    add("session", task.session.clone());
    add("next try", waits.then(|| task.run_at.to_rfc3339()));
    add("ended", task.finished_at.map(|at| ago(Some(at), Utc::now())));
    add("text", task.payload["text"].as_str().map(str::to_owned));
    add("data", task.payload.get("data").map(|data| short(&data.to_string(), 200)));
    add("error", task.error.clone());
    add("reply", task.result.as_ref().and_then(|reply| reply["text"].as_str()).map(str::to_owned));
    printable(&lines.join("\n"))
}
