//! What each row of Telegram's is carried out by. Nothing is kept but in the rows: whatever is cut off is done again.

use std::convert::Infallible;
use std::time::Duration;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde_json::{Value, json};
use store::task::{Ended, LeasedTask, Outcome, TaskId, TaskState};
use tokio::time::{sleep, timeout};

use super::api::Failure;
use super::direct::{Direct, help};
use super::receive::{message, owing};
use super::retry::{Next, next, pause, stands_in_the_way};
use super::shared::{CALL, Shared, texts};
use super::tasks::Job;
use super::update::{Inbound, Person, Place};
use super::uploads::{Refused, fetch};
use crate::desk::{self, Action, Desk};

/// An agent that answers sooner is not shown as typing.
const SOON: Duration = Duration::from_millis(300);
/// Telegram shows it for five seconds.
const TYPING: Duration = Duration::from_secs(4);
/// So long an answer holds up those after it: beyond the slowest handler and its second try.
const HOLDS_UP: Duration = Duration::from_secs(600);
/// What could not be looked up now is looked up again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// The longest answer to a command or about a failure, in characters.
const TOLD: usize = 3000;

/// Carries a row out.
pub async fn run(shared: &Shared, task: &LeasedTask) -> Outcome {
    match serde_json::from_str(&task.payload) {
        Ok(Job::Owed { task, agent, place, late }) => owed(shared, task, &agent, &place, late).await,
        Ok(Job::Send { place, text, html, since }) => send(shared, task, place, text, html, since).await,
        Ok(Job::Direct { direct, place, sender }) => direct_command(shared, direct, &place, &sender).await,
        Ok(Job::File { inbound }) => file(shared, task, inbound).await,
        Err(error) => Outcome::Failed { error: format!("the row does not read: {error}"), retry_at: None },
    }
}

/// Tried again after a while.
pub fn failed(error: String, after: Duration, shared: &Shared) -> Outcome {
    Outcome::Failed { error, retry_at: Some(shared.clock.now() + after) }
}

fn done(result: &Value, follow_ups: Vec<store::task::NewTask>) -> Outcome {
    Outcome::Done { result: result.to_string(), follow_ups }
}

/// Waits for an agent's task to end; what is to be sent then is stored with the end of this. An answer that is long in coming
/// makes way for those after it.
async fn owed(shared: &Shared, id: TaskId, agent: &AgentName, place: &Place, late: bool) -> Outcome {
    let Ok(within) = shared.within() else { return Outcome::Released };
    let Desk { store, supervisor, .. } = &within.desk;
    let ended = tokio::select! {
        ended = store.watch(id) => ended,
        never = typing(shared, place), if !late => match never {},
        why = too_long(supervisor, agent), if !late => {
            let text = format!("{agent} {why}. What you said is kept, and answered when it does.");
            let later = Job::Owed { task: id, agent: agent.clone(), place: place.clone(), late: true };
            let mut follow_ups = texts(place, &text, None);
            follow_ups.push(later.task(None, "telegram".into()));
            return done(&json!({"task_id": id, "late": true}), follow_ups);
        }
    };
    match ended {
        Ok(ended) => done(&json!({"task_id": id}), texts(place, &answer(agent, &ended), None)),
        // Gone, or the database is away.
        Err(_) => match store.task(id).await {
            Err(store::Error::NoSuchTask(_)) => {
                let text = format!("There is no answer of {agent}: the task is gone.");
                done(&json!({"task_id": id}), texts(place, &text, None))
            }
            _ => failed("its task cannot be looked up now".into(), LOOK_AGAIN, shared),
        },
    }
}

async fn typing(shared: &Shared, place: &Place) -> Infallible {
    sleep(SOON).await;
    loop {
        shared.typing(place).await;
        sleep(TYPING).await;
    }
}

/// Waits until nobody should wait any more, and says why.
async fn too_long(supervisor: &supervisor::Handle, agent: &AgentName) -> &'static str {
    let down = async {
        if supervisor.down(agent).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        // Also of one that runs elsewhere, of which nothing is known here.
        () = sleep(HOLDS_UP) => "has not answered yet",
        () = down => "does not run at the moment",
    }
}

/// What is said of the end of an agent's task.
fn answer(agent: &AgentName, ended: &Ended) -> String {
    match ended.state {
        TaskState::Done => {
            let result = ended.result.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
            result.and_then(|reply| reply["text"].as_str().map(str::to_owned)).unwrap_or_default()
        }
        TaskState::Cancelled => "This was cancelled by the operator.".into(),
        _ => {
            let why: String =
                ended.error.as_deref().unwrap_or("for an unknown reason").chars().take(TOLD).collect();
            format!("{agent} could not do this: {why}")
        }
    }
}

async fn send(
    shared: &Shared,
    task: &LeasedTask,
    place: Place,
    text: String,
    html: Option<String>,
    since: Option<DateTime<Utc>>,
) -> Outcome {
    let with_entities = html.is_some();
    match deliver(shared, &place, &text, html.as_deref()).await {
        Ok(number) => {
            let now = shared.clock.now();
            shared.health().sent_at = Some(now);
            done(&json!({"message_id": number}), Vec::new())
        }
        Err(failure) => {
            let (now, since) = (shared.clock.now(), since.unwrap_or(task.created_at));
            let age = (now - since).to_std().unwrap_or_default();
            let listens = || shared.health().listens();
            if let Failure::TooMany { .. } = failure {
                let until = now + pause(&failure, task.attempts);
                let mut health = shared.health();
                health.waits_until = health.waits_until.max(Some(until));
            }
            match next(&failure, task.attempts, age, with_entities) {
                // What is not of the chat's own session stands in nobody's way.
                Next::Again(pause)
                    if task.session.as_ref() == Some(&place.session())
                        && stands_in_the_way(&failure, task.attempts, listens()) =>
                {
                    tracing::warn!(chat = place.chat, "telegram: those after it are sent first: {failure}");
                    let aside = Job::Send { place, text, html, since: Some(since) };
                    let mut aside = aside.task(None, task.source.clone());
                    aside.run_at = Some(now + pause);
                    done(&json!({"task_id": aside.id, "aside": true}), vec![aside])
                }
                Next::Again(pause) => {
                    if task.attempts == 1 {
                        tracing::warn!(
                            chat = place.chat,
                            "telegram: not sent yet, in {pause:?} again: {failure}"
                        );
                    }
                    failed(failure.to_string(), pause, shared)
                }
                // Without its entities it was refused as well.
                Next::Plain | Next::GiveUp => {
                    tracing::warn!(chat = place.chat, task = %task.id, "telegram: never sent: {failure}");
                    Outcome::Failed { error: failure.to_string(), retry_at: None }
                }
            }
        }
    }
}

/// Sends a message to where its chat has gone.
async fn deliver(shared: &Shared, place: &Place, text: &str, html: Option<&str>) -> Result<i64, Failure> {
    let chat = shared.chat_now(place.chat).await;
    match deliver_to(shared, chat, place, text, html).await {
        Err(Failure::Moved { to }) => {
            // What cannot be remembered now is found out again.
            let _ = shared.moved(chat, to).await;
            deliver_to(shared, to, place, text, html).await
        }
        sent => sent,
    }
}

/// Sends a message; where its entities are refused, without them.
async fn deliver_to(
    shared: &Shared,
    chat: i64,
    place: &Place,
    text: &str,
    html: Option<&str>,
) -> Result<i64, Failure> {
    let mut parameters = json!({"chat_id": chat, "link_preview_options": {"is_disabled": true}});
    if let Some(thread) = place.thread {
        parameters["message_thread_id"] = thread.into();
    }
    if let Some(message) = place.reply_to {
        // Whoever asked may have deleted it.
        parameters["reply_parameters"] = json!({"message_id": message, "allow_sending_without_reply": true});
    }
    if let Some(html) = html {
        parameters["text"] = html.into();
        parameters["parse_mode"] = "HTML".into();
        match shared.api.call::<Value>("sendMessage", &parameters, CALL).await {
            Err(failure @ Failure::Refused { code: 400, .. }) => {
                tracing::warn!(chat = place.chat, "telegram: sent without its formatting: {failure}");
            }
            sent => return sent.map(number),
        }
    }
    parameters["text"] = text.into();
    if let Some(parameters) = parameters.as_object_mut() {
        parameters.remove("parse_mode");
    }
    shared.api.call::<Value>("sendMessage", &parameters, CALL).await.map(number)
}

fn number(message: Value) -> i64 {
    message["message_id"].as_i64().unwrap_or_default()
}

/// Does what an operator says, with their authority and under their name.
async fn direct_command(shared: &Shared, direct: Direct, place: &Place, sender: &Person) -> Outcome {
    let operator = shared.settings.operators.contains(&sender.id);
    let allowed = operator || !direct.needs_operator();
    if direct.needs_operator() {
        let payload = json!({"actor": Shared::actor(sender), "command": direct, "allowed": allowed});
        tracing::info!(actor = Shared::actor(sender), ?direct, allowed, "telegram: a command for the daemon");
        shared.record("telegram.command", &payload);
    }
    let text = if allowed {
        obey(shared, direct, operator, &Shared::actor(sender)).await
    } else {
        "Only operators may do that: their ids stand under `operators` in [telegram].".into()
    };
    let text: String = text.chars().take(TOLD * 2).collect();
    done(&json!({"allowed": allowed}), texts(place, &text, None))
}

async fn obey(shared: &Shared, direct: Direct, operator: bool, actor: &str) -> String {
    let Ok(within) = shared.within() else { return "The daemon is starting.".into() };
    let desk = &within.desk;
    let act = async |name: String, action: Action| {
        let reason = (action == Action::Restart).then(|| format!("restarted by {actor}"));
        let settled = desk.act(&name, action, reason, actor.into()).await;
        settled.map(|settled| format!("{} is {}: {}", settled.name, settled.state, settled.reason))
    };
    let reloaded = |reloaded: desk::Reloaded| format!("{}: {}", reloaded.name, reloaded.verdict);
    let known = |acked: desk::Acknowledged| match acked.acknowledged {
        0 => "There is nothing open to know of.".to_owned(),
        1 => "Good: nobody is reminded of it.".to_owned(),
        more => format!("Good: nobody is reminded of these {more}."),
    };
    let told: Result<String, desk::Error> = match direct {
        Direct::Help => Ok(help(&shared.commands().await, operator)),
        Direct::Status => return status(within.whole.as_ref()).await,
        Direct::Nobody(command) => Ok(format!("Whom? {command} AGENT")),
        Direct::Ack(which) => {
            desk.acknowledge(&which.unwrap_or_else(|| desk::ALL.into()), actor).await.map(known)
        }
        Direct::Start(name) => act(name, Action::Start).await,
        Direct::Stop(name) => act(name, Action::Stop).await,
        Direct::Restart(name) => act(name, Action::Restart).await,
        Direct::Reload(name) => desk.reload(&name, actor.into()).await.map(reloaded),
        Direct::Rollback(name) => desk.rollback(&name, None, actor.into()).await.map(reloaded),
    };
    told.unwrap_or_else(|error| format!("Not done: {error}"))
}

async fn status(whole: &dyn crate::Whole) -> String {
    match whole.home().await {
        Ok(document) => {
            let lines = document
                .components
                .iter()
                .map(|part| format!("**{}** {} ({}): {}", part.name, part.state, part.health, part.reason));
            lines.collect::<Vec<_>>().join("\n")
        }
        Err(why) => format!("How all stand is not known: {why}"),
    }
}

/// Fetches what was sent, then leaves the message for its agent.
async fn file(shared: &Shared, task: &LeasedTask, inbound: Inbound) -> Outcome {
    let outcome = fetched(shared, task, &inbound).await;
    let again = matches!(outcome, Outcome::Failed { retry_at: Some(_), .. });
    if !again {
        shared.fetching().ends(&inbound);
    }
    outcome
}

async fn fetched(shared: &Shared, task: &LeasedTask, inbound: &Inbound) -> Outcome {
    let mut data = None;
    if let Some(file) = &inbound.file {
        // While it is fetched, somebody waits.
        let _ = timeout(CALL, shared.typing(&inbound.place)).await;
        match fetch(&shared.api, file, inbound.update, &shared.uploads, &shared.settings).await {
            Ok(path) => {
                tracing::info!(sender = inbound.sender.id, path = %path.display(), "telegram: a file was taken");
                data = Some(json!({"path": path, "name": super::uploads::plain_name(&file.name)}));
            }
            Err(Refused::Later(failure)) => {
                let age = (shared.clock.now() - task.created_at).to_std().unwrap_or_default();
                if let Next::Again(pause) = next(&failure, task.attempts, age, false) {
                    return failed(failure.to_string(), pause, shared);
                }
                let text = format!("The file was not taken: {failure}");
                return done(&json!({"taken": false}), texts(&inbound.place, &text, None));
            }
            Err(error @ Refused::Disk(_)) => {
                tracing::warn!("telegram: a file is not taken yet: {error}");
                let why = Failure::Unreachable { why: error.to_string() };
                return failed(error.to_string(), pause(&why, task.attempts), shared);
            }
            Err(Refused::Never(why)) => {
                let text = format!("The file was not taken: {why}");
                return done(&json!({"taken": false}), texts(&inbound.place, &text, None));
            }
        }
    }
    match message(shared, inbound, data).await {
        Ok((task, rule)) => {
            shared.routed(inbound, &task, rule);
            let owed = owing(inbound, &task);
            done(&json!({"taken": true}), vec![task, owed])
        }
        Err(why) => done(&json!({"taken": true}), texts(&inbound.place, &format!("Not taken: {why}"), None)),
    }
}
