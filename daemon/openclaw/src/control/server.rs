//! The daemon's end of the operator's socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway::desk::{Desk, Sending};
use gateway::telegram;
use nix::unistd::{Uid, User};
use serde::Serialize;
use serde_json::value::RawValue;
use settings::Redactor;
use store::backend::TRANSITION;
use supervisor::wire::{self, Decoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{Answer, Ask, Bot, Message, Request, Sent};
use crate::exit::{Code, Failure};
use crate::status::Board;
use crate::{breakers, missions, provided};

/// Connections at once; further ones wait in the listen queue.
const CONNECTIONS: usize = 256;
/// The most calls of one answer.
const CALLS: u32 = 1000;
/// Requests of one connection that are under way at once; further ones wait in the socket.
const UNDER_WAY: usize = 1024;

/// Answers requests.
pub struct Server {
    pub board: Board,
    pub desk: Desk,
    /// What failures are told without.
    pub redactor: Redactor,
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
        requests.spawn(self.clone().read(reader, actor, answers));
        let (mut out, mut batch) = (Vec::new(), Vec::new());
        while waiting.recv_many(&mut batch, UNDER_WAY).await > 0 {
            for mut answer in batch.drain(..) {
                let id = answer.id;
                if let Err(failure) = &mut answer.result {
                    failure.message = self.redactor.redact(&failure.message).into_owned();
                }
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
        let actor = format!("operator {actor}");
        let Board { supervisor, store, .. } = &self.board;
        match ask {
            Ask::Status => json(&self.board.document().await?),
            Ask::Send(message) => json(&self.sent(self.post(message).await?).await?),
            Ask::Agent { name, action, reason, actor: other } => {
                json(&self.desk.act(&name, action, reason, other.unwrap_or(actor)).await?)
            }
            Ask::Reload { name, actor: other } => {
                json(&self.desk.reload(&name, other.unwrap_or(actor)).await?)
            }
            Ask::Rollback { name, to, actor: other } => {
                json(&self.desk.rollback(&name, to, other.unwrap_or(actor)).await?)
            }
            Ask::Libraries { name } => json(&self.desk.libraries(&name).await?),
            Ask::Alerts { limit } => json(&self.desk.alerts(limit).await?),
            Ask::Raise(raise) => json(&self.desk.raise(raise).await?),
            Ask::Acknowledge { which } => json(&self.desk.acknowledge(&which, &actor).await?),
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
                if let Some(queue) = filter.queue.as_ref().filter(|queue| !telegram::Queue::is(queue)) {
                    supervisor.agent(queue)?;
                }
                json(&store.tasks(&filter).await?)
            }
            Ask::Task { id } => json(&store.task(id).await?),
            Ask::Retry { id } => json(&store.retry(id).await?),
            Ask::Cancel { id } => json(&store.cancel(id).await?),
            Ask::Missions { limit } => json(&store.missions(limit).await?),
            Ask::Decide { id, verdict, reason } => {
                json(&missions::decide(store, &id, verdict, actor, reason, self.board.clock).await?)
            }
            Ask::Provider { name, this, reason, actor: other } => {
                let alone = other.is_some();
                let actor = other.unwrap_or(actor);
                json(&breakers::of_provider(&self.board, name, (this, reason), actor, alone).await?)
            }
            Ask::Grants { name } => json(&provided::grants(&self.board, supervisor.agent(&name)?).await?),
            Ask::Budget { agent, calls } => {
                let agent = agent.map(|name| supervisor.agent(&name)).transpose()?;
                let (budgets, calls) = (self.desk.budgets().await?, calls.min(CALLS));
                json(
                    &serde_json::json!({"budgets": budgets, "calls": store.calls(agent.as_ref(), calls).await?}),
                )
            }
            Ask::Probe { ask } => {
                provided::probe(&self.board, ask).await;
                json(&())
            }
            Ask::Telegram(ask) => {
                let bot = self.board.telegram.as_ref().ok_or(telegram::Error::Off)?;
                match ask {
                    Bot::Stand => json(&bot.stand().await?),
                    Bot::Approve { code } => json(&bot.approve(&code, &actor).await?),
                    Bot::Revoke { id } => json(&bot.revoke(id, &actor).await?),
                }
            }
        }
    }

    /// Leaves a message to be stored; it is not accepted yet.
    async fn post(&self, message: Message) -> Result<Sending, Failure> {
        Ok(self.desk.post(message, "cli".into()).await?)
    }

    /// Waits until a message is durable, and for its end where that is asked for.
    async fn sent(&self, sending: Sending) -> Result<Sent, Failure> {
        Ok(self.desk.sent(sending, std::future::pending()).await?.0)
    }
}

/// What was begun in the order in which it came.
enum Begun {
    Posted(Result<Sending, Failure>),
    Not(Ask),
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
