//! The daemon's end of the operator's socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Uid, User};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::kinds;
use serde::Serialize;
use serde_json::value::RawValue;
use settings::Tasks;
use store::backend::TRANSITION;
use store::task::{Ended, NewTask, TaskId};
use supervisor::instance::Payload;
use supervisor::wire::{self, Decoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Action, Answer, Ask, Message, Request, Sent, Settled};
use crate::exit::{Code, Failure};
use crate::status::Board;

/// Connections at once; further ones wait in the listen queue.
const CONNECTIONS: usize = 256;
/// Requests of one connection that are under way at once; further ones wait in the socket.
const UNDER_WAY: usize = 1024;
/// A session or key longer than this is somebody's mistake.
const KEY: usize = 256;
/// Beyond an agent's own time-outs.
const SETTLE: Duration = Duration::from_secs(60);

/// Answers requests.
pub struct Server {
    pub board: Board,
    pub tasks: Tasks,
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
                        let (server, answers, actor) = (self.clone(), answers.clone(), actor.clone());
                        under_way.spawn(async move {
                            let result = server.answer(request.ask, &actor).await;
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
            Ask::Send(message) => json(&self.send(message).await?),
            Ask::Agent { name, action, reason } => json(&self.act(&name, action, reason, actor).await?),
            Ask::History { name, limit } => {
                let name = supervisor.agent(&name)?;
                json(&store.events(&name, TRANSITION, limit).await?)
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

    async fn send(&self, message: Message) -> Result<Sent, Failure> {
        let wait = message.wait_ms.map(Duration::from_millis);
        let task = self.task(message)?;
        let store = &self.board.store;
        let Some(wait) = wait else {
            let submitted = store.submit(task).await?;
            return self.standing(submitted.id).await;
        };
        let agent = task.queue.clone();
        let (submitted, ended) = store.submit_and_watch(task).await?;
        match self.board.end_of(&agent, ended, wait).await? {
            Some(ended) => Ok(sent(ended)),
            None => self.standing(submitted.id).await,
        }
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
        let queue: AgentName = self.board.supervisor.agent(&message.agent)?;
        let usage = |text: String| Err(Failure::new(Code::Usage, text));
        for (what, text) in [("session", &message.session), ("key", &message.key)] {
            if text.as_ref().is_some_and(|text| text.len() > KEY || text.is_empty()) {
                return usage(format!("a {what} has 1 to {KEY} bytes: nothing was stored"));
            }
            if text.as_ref().is_some_and(|text| text.chars().any(char::is_control)) {
                return usage(format!("a {what} has no control characters: nothing was stored"));
            }
        }
        if message.text.is_empty() && message.data.is_none() {
            return usage("there is nothing to say, neither text nor data: nothing was stored".into());
        }
        let payload = Payload { text: message.text, data: message.data };
        let payload = serde_json::to_string(&payload).map_err(|error| Failure::of(Code::Usage, &error))?;
        let limit = self.tasks.max_payload;
        if payload.len() as u64 > limit.bytes() {
            let size = payload.len();
            return usage(format!(
                "the message of {size} bytes is over tasks.max_payload, {limit}: nothing was stored; send less, or raise it"
            ));
        }
        Ok(NewTask {
            id: TaskId::new(),
            queue,
            kind: kinds::MESSAGE.into(),
            payload,
            session: message.session,
            dedupe_key: message.key,
            priority: message.priority,
            max_attempts: self.tasks.max_attempts,
            run_at: None,
            source: "cli".into(),
        })
    }
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
