//! The daemon's end of the operator's socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Uid, User};
use openclaw_agent_api::AgentName;
use serde::Serialize;
use serde_json::value::RawValue;
use settings::Tasks;
use store::Posted;
use store::backend::TRANSITION;
use store::task::{Ended, NewTask, TaskId};
use supervisor::library::{Entry, Hash, Libraries};
use supervisor::submission::{Draft, Payload};
use supervisor::wire::{self, Decoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Action, Answer, Ask, Kept, Message, Reloaded, Request, Sent, Settled};
use crate::exit::{Code, Failure};
use crate::status::Board;

/// Connections at once; further ones wait in the listen queue.
const CONNECTIONS: usize = 256;
/// Requests of one connection that are under way at once; further ones wait in the socket.
const UNDER_WAY: usize = 1024;
/// Beyond an agent's own time-outs.
const SETTLE: Duration = Duration::from_secs(60);

/// Answers requests.
pub struct Server {
    pub board: Board,
    pub tasks: Tasks,
    pub libraries: Arc<Libraries>,
}

/// Binds the socket, for its owner only.
pub fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let failed = |error: &std::io::Error| {
        Failure::new(Code::Io, format!("cannot listen on {}: {error}", path.display()))
    };
    crate::home::clear_socket(path)?;
    let listener = UnixListener::bind(path).map_err(|error| failed(&error))?;
    // The folder is 0700 already; this is for who looks at the socket alone.
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(|error| failed(&error))?;
    Ok(listener)
}

impl Server {
    /// Serves until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            // The semaphore is never closed.
            let Ok(place) = room.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: those in use come back.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let server = self.clone();
            connections.spawn(async move {
                server.connection(stream).await;
                drop(place);
            });
            while connections.try_join_next().is_some() {}
        }
    }

    async fn connection(self: Arc<Self>, stream: UnixStream) {
        let actor = actor(&stream);
        let (reader, mut writer) = stream.into_split();
        let (answers, mut waiting) = mpsc::channel::<Answer>(UNDER_WAY);
        let mut requests = JoinSet::new();
        requests.spawn(self.read(reader, actor, answers));
        let (mut out, mut batch) = (Vec::new(), Vec::new());
        while waiting.recv_many(&mut batch, UNDER_WAY).await > 0 {
            for answer in batch.drain(..) {
                let id = answer.id;
                if let Err(error) = wire::encode(&answer, &mut out) {
                    let failure =
                        Failure::new(Code::Usage, format!("the answer is too long ({error}): ask for less"));
                    let _ = wire::encode(&Answer { id, result: Err(failure) }, &mut out);
                }
            }
            if writer.write_all(&out).await.is_err() {
                return;
            }
            out.clear();
        }
    }

    async fn read(self: Arc<Self>, mut reader: OwnedReadHalf, actor: String, answers: mpsc::Sender<Answer>) {
        let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 16 * 1024]);
        let mut under_way = JoinSet::new();
        while let Ok(read) = reader.read(&mut chunk).await {
            if read == 0 {
                break;
            }
            decoder.extend(&chunk[..read]);
            loop {
                match decoder.frame::<Request>() {
                    Ok(None) => break,
                    Ok(Some(request)) => {
                        if under_way.len() >= UNDER_WAY {
                            under_way.join_next().await;
                        }
                        // Messages are left in the store's inbox here, one after another: those of one session
                        // keep the order in which they came. What is waited for is waited for beside it.
                        let begun = match request.ask {
                            Ask::Send(message) => Begun::Posted(self.post(message).await),
                            ask => Begun::Not(ask),
                        };
                        let (server, answers, actor) = (self.clone(), answers.clone(), actor.clone());
                        under_way.spawn(async move {
                            let result = match begun {
                                Begun::Posted(Ok(sending)) => {
                                    server.sent(sending).await.and_then(|sent| json(&sent))
                                }
                                Begun::Posted(Err(failure)) => Err(failure),
                                Begun::Not(ask) => server.answer(ask, &actor).await,
                            };
                            let _ = answers.send(Answer { id: request.id, result }).await;
                        });
                    }
                    Err(error) => {
                        let failure =
                            Failure::new(Code::Usage, format!("the request does not read: {error}"));
                        let _ = answers.send(Answer { id: 0, result: Err(failure) }).await;
                        // After a frame of the wrong length there is no telling where the next begins.
                        if matches!(error, wire::Error::TooLong(_)) {
                            return;
                        }
                    }
                }
            }
            while under_way.try_join_next().is_some() {}
        }
        // A client that half-closes still gets its answers; one that is gone ends the writer, and with it this.
        while under_way.join_next().await.is_some() {}
    }

    async fn answer(&self, ask: Ask, actor: &str) -> Result<Box<RawValue>, Failure> {
        let Board { supervisor, store, .. } = &self.board;
        match ask {
            Ask::Status => json(&self.board.document().await?),
            Ask::Send(message) => json(&self.sent(self.post(message).await?).await?),
            Ask::Agent { name, action, reason } => json(&self.act(&name, action, reason, actor).await?),
            Ask::Reload { name } => {
                let name = supervisor.agent(&name)?;
                let verdict = supervisor.reload(&name, format!("operator {actor}")).await?;
                json(&self.reloaded(name, verdict).await?)
            }
            Ask::Rollback { name, to } => {
                let name = supervisor.agent(&name)?;
                let verdict = supervisor.rollback(&name, to, format!("operator {actor}")).await?;
                json(&self.reloaded(name, verdict).await?)
            }
            Ask::Libraries { name } => {
                let name = supervisor.agent(&name)?;
                let current = supervisor.one(&name).await?.library.installed.current;
                let kept = |entry: Entry| Kept { running: current.as_ref() == Some(&entry.hash), entry };
                json(&self.libraries.entries(&name).into_iter().map(kept).collect::<Vec<_>>())
            }
            Ask::Alerts { limit } => json(&store.alerts(limit).await?),
            Ask::History { name, limit } => {
                let name = supervisor.agent(&name)?;
                json(&store.events(&name, TRANSITION, limit).await?)
            }
            Ask::Heartbeats { name, limit } => {
                let rows = match name.parse() {
                    Ok(agent) => store.heartbeats(&agent, limit).await?,
                    Err(_) => Vec::new(),
                };
                // Other processes' agents are known by their heartbeats alone.
                if rows.is_empty() {
                    supervisor.agent(&name)?;
                }
                json(&rows)
            }
            Ask::Tasks(filter) => {
                if let Some(queue) = &filter.queue {
                    supervisor.agent(queue)?;
                }
                json(&store.tasks(&filter).await?)
            }
            Ask::Task { id } => json(&store.task(id).await?),
            Ask::Retry { id } => json(&store.retry(id).await?),
            Ask::Cancel { id } => json(&store.cancel(id).await?),
        }
    }

    async fn reloaded(&self, name: AgentName, verdict: (Hash, String)) -> Result<Reloaded, Failure> {
        let stand = self.board.supervisor.settled(&name, SETTLE).await?;
        let (asked, verdict) = verdict;
        // It did not run, was started with it, and went back already.
        if stand.library.installed.current.as_ref() != Some(&asked) {
            return Err(Failure::new(
                Code::Failed,
                format!("{name} does not run {}: {}", asked.short(), stand.reason),
            ));
        }
        Ok(Reloaded {
            name,
            state: stand.record.state.name().into(),
            verdict,
            sha256: stand.library.installed.current,
            version: stand.manifest.map(|manifest| manifest.version),
            reason: stand.reason,
        })
    }

    async fn act(
        &self,
        name: &str,
        action: Action,
        reason: Option<String>,
        actor: &str,
    ) -> Result<Settled, Failure> {
        let supervisor = &self.board.supervisor;
        let name = supervisor.agent(name)?;
        let actor = format!("operator {actor}");
        match action {
            Action::Start => supervisor.start(&name, actor).await?,
            Action::Stop => supervisor.stop(&name, actor).await?,
            Action::Restart => {
                let reason = reason.unwrap_or_else(|| format!("restarted by {actor}"));
                supervisor.restart(&name, actor, reason).await?;
            }
        }
        let stand = supervisor.settled(&name, SETTLE).await?;
        Ok(Settled { name, state: stand.record.state.name().into(), reason: stand.reason })
    }

    /// Leaves a message to be stored; it is not accepted yet.
    async fn post(&self, message: Message) -> Result<Sending, Failure> {
        let wait = message.wait_ms.map(Duration::from_millis);
        let task = self.task(message)?;
        let agent = task.queue.clone();
        let (watch, ended) = oneshot::channel();
        let posted = self.board.store.post(task, wait.map(|_| watch)).await?;
        Ok(Sending { posted, wait: wait.map(|wait| (agent, ended, wait)) })
    }

    /// Waits until a message is durable, and for its end where that is asked for.
    async fn sent(&self, sending: Sending) -> Result<Sent, Failure> {
        let id = sending.posted.submitted().await?.id;
        if let Some((agent, ended, wait)) = sending.wait
            && let Some(ended) = self.board.end_of(&agent, ended, wait).await?
        {
            return Ok(sent(ended));
        }
        self.standing(id).await
    }

    async fn standing(&self, id: TaskId) -> Result<Sent, Failure> {
        let task = self.board.store.task(id).await?;
        let until = task.finished_at.unwrap_or_else(|| self.board.clock.now());
        let duration = (until - task.created_at).to_std().unwrap_or_default();
        Ok(Sent {
            task_id: id,
            state: task.state.to_string(),
            result: task.result,
            error: task.error,
            attempts: task.attempts,
            duration_ms: duration.as_secs_f64() * 1e3,
        })
    }

    /// What is wrong with a message is said before anything is stored.
    fn task(&self, message: Message) -> Result<NewTask, Failure> {
        let draft = Draft {
            to: self.board.supervisor.agent(&message.agent)?,
            payload: Payload { text: message.text, data: message.data },
            session: message.session,
            key: message.key,
            priority: message.priority,
            source: "cli".into(),
        };
        draft.task(&self.tasks).map_err(|why| Failure::new(Code::Usage, why))
    }
}

/// A message on its way into the store, and who waits for its end.
struct Sending {
    posted: Posted,
    wait: Option<(AgentName, oneshot::Receiver<Ended>, Duration)>,
}

/// What was begun in the order in which it came.
enum Begun {
    Posted(Result<Sending, Failure>),
    Not(Ask),
}

fn sent(ended: Ended) -> Sent {
    Sent {
        task_id: ended.id,
        state: ended.state.to_string(),
        result: ended.result.as_deref().and_then(|json| serde_json::from_str(json).ok()),
        error: ended.error,
        attempts: ended.attempts,
        duration_ms: ended.duration.as_secs_f64() * 1e3,
    }
}

fn json<T: Serialize>(value: &T) -> Result<Box<RawValue>, Failure> {
    serde_json::value::to_raw_value(value).map_err(|error| Failure::of(Code::Failed, &error))
}

/// Who is at the other end.
fn actor(stream: &UnixStream) -> String {
    let Ok(peer) = stream.peer_cred() else { return "unknown".into() };
    let user = User::from_uid(Uid::from_raw(peer.uid())).ok().flatten();
    user.map_or_else(|| format!("uid {}", peer.uid()), |user| user.name)
}
