//! The other processes of this home, asked over their sockets: what the gateway shows is the home, and what it is told to
//! do to an agent is done where that runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use gateway::desk::{self, Order};
use openclaw_agent_api::AgentName;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use supervisor::wire::{self, Decoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Answer, Ask, Request};
use crate::exit::{Code, Failure};
use crate::status::Document;

/// A process that lives answers within milliseconds how it stands; people wait for this one.
const STATUS: Duration = Duration::from_secs(1);
/// The longest that an order may take: a drain, a start, and a canary's.
const ORDER: Duration = Duration::from_secs(300);

/// Those whose sockets lie beside this process's own.
#[derive(Clone)]
pub struct Neighbours {
    run: PathBuf,
    own: PathBuf,
}

/// One of them: its name, its socket, and how it stands; none: it does not answer.
struct Neighbour {
    name: String,
    socket: PathBuf,
    document: Option<Document>,
}

impl Neighbours {
    /// Of the process whose socket is `own`.
    pub fn of(own: &Path) -> Self {
        Self { run: own.parent().unwrap_or(own).to_owned(), own: own.to_owned() }
    }

    /// The home as a whole, of what this process says and what the others do.
    pub async fn home(&self, this: Document) -> Document {
        let (mut documents, mut silent) = (Vec::new(), Vec::new());
        for neighbour in self.all().await {
            match neighbour.document {
                Some(document) => documents.push(document),
                None => silent.push(neighbour.name),
            }
        }
        let mut home = this.with(documents);
        home.silent = silent;
        home
    }

    /// Asks each of them. Answers whether one of them did it.
    pub async fn everyone(&self, asked: &Ask) -> bool {
        let mut done = false;
        for neighbour in self.all().await {
            if let Ok(stream) = UnixStream::connect(&neighbour.socket).await {
                done |= ask::<Box<RawValue>>(stream, asked, STATUS).await.is_ok();
            }
        }
        done
    }

    /// All that live, in the order of their names.
    async fn all(&self) -> Vec<Neighbour> {
        let mut asked = JoinSet::new();
        let Ok(mut folder) = tokio::fs::read_dir(&self.run).await else { return Vec::new() };
        while let Ok(Some(entry)) = folder.next_entry().await {
            let socket = entry.path();
            if socket == self.own || socket.extension().is_none_or(|end| end != "sock") {
                continue;
            }
            asked.spawn(async move {
                // One that was killed leaves its socket behind.
                let stream = UnixStream::connect(&socket).await.ok()?;
                let document = ask(stream, &Ask::Status, STATUS).await;
                let name = socket.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                Some(Neighbour { name, socket, document: document.ok() })
            });
        }
        let mut all: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

#[async_trait]
impl desk::Neighbours for Neighbours {
    async fn carry_out(
        &self,
        agent: &AgentName,
        order: Order,
        actor: &str,
    ) -> Option<Result<Box<RawValue>, String>> {
        let leads = |neighbour: &Neighbour| {
            let document = neighbour.document.as_ref();
            document
                .and_then(|document| document.agent(agent.as_str()))
                .is_some_and(|agent| !agent.stands_by())
        };
        let leader = self.all().await.into_iter().find(leads)?;
        let (name, actor) = (agent.to_string(), Some(actor.to_owned()));
        let order = match order {
            Order::Act { action, reason } => Ask::Agent { name, action, reason, actor },
            Order::Reload => Ask::Reload { name, actor },
            Order::Rollback { to } => Ask::Rollback { name, to, actor },
        };
        let stream = UnixStream::connect(&leader.socket).await.ok()?;
        Some(ask(stream, &order, ORDER).await.map_err(|failure| failure.message))
    }
}

/// One question and its answer.
async fn ask<T: DeserializeOwned>(mut stream: UnixStream, ask: &Ask, limit: Duration) -> Result<T, Failure> {
    let lost = |error: &dyn std::fmt::Display| {
        Failure::new(Code::Unavailable, format!("another process of this home went away: {error}"))
    };
    let exchange = async {
        let mut frame = Vec::new();
        wire::encode(&Request { id: 1, ask }, &mut frame).map_err(|error| lost(&error))?;
        stream.write_all(&frame).await.map_err(|error| lost(&error))?;
        let (mut decoder, mut chunk) = (Decoder::default(), vec![0; 16 * 1024]);
        loop {
            if let Some(answer) = decoder.frame::<Answer>().map_err(|error| lost(&error))? {
                return serde_json::from_str(answer.result?.get()).map_err(|error| lost(&error));
            }
            match stream.read(&mut chunk).await.map_err(|error| lost(&error))? {
                0 => return Err(lost(&"it closed the connection")),
                read => decoder.extend(&chunk[..read]),
            }
        }
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(lost(&format!("no answer within {limit:?}"))))
}
