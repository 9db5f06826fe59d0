//! The service: takes connections, and lets go of them.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use settings::Redactor;
use store::Clock;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use crate::desk::Desk;
use crate::http::connection::{self, GRACE, Seat};
use crate::http::{Door, Drain};
use crate::{Tokens, Whole};

/// Once all work has ended, so long may the last answers take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Out of descriptors: those in use come back.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(100);

/// How it is to work.
pub struct Options {
    /// Its bounds.
    pub settings: settings::Gateway,
    /// Who gets a message that names nobody.
    pub routing: settings::Routing,
    /// Who may use the API.
    pub tokens: Tokens,
    /// A bound listener, of [`bind`](crate::bind) or [`adopt`](crate::adopt).
    pub listener: TcpListener,
    /// The daemon's clock.
    pub clock: Clock,
    /// What problems are told without.
    pub redactor: Redactor,
}

/// What it last proved.
#[derive(Clone, Debug)]
pub struct Health {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether anybody can use the API.
    pub has_tokens: bool,
    /// Since when it listens.
    pub since: DateTime<Utc>,
    /// When it answered last.
    pub answered_at: Option<DateTime<Utc>>,
    /// Requests that it has in work.
    pub running: u32,
    /// Why it takes no connection at the moment.
    pub error: Option<String>,
}

/// What others hold of it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    door: Arc<Door>,
    drain: Arc<watch::Sender<Drain>>,
}

impl Handle {
    /// What it last proved.
    pub fn health(&self) -> Health {
        self.door.health()
    }

    /// Takes no more connections, and closes those that are idle; what waits for a result goes on waiting.
    pub fn stop(&self) {
        self.drain.send_replace(Drain::Stopping);
    }

    /// Has every request answered now, and the service end within a second.
    pub fn finish(&self) {
        self.drain.send_replace(Drain::Finishing);
    }
}

/// The service.
pub struct Service {
    door: Arc<Door>,
    listener: TcpListener,
    drain: watch::Receiver<Drain>,
}

impl Service {
    /// A service, and what others hold of it. It serves nobody before it [runs](Self::run), but whoever connects waits.
    ///
    /// # Errors
    /// The listener is none.
    pub fn new(options: Options) -> io::Result<(Self, Handle)> {
        let Options { settings, routing, tokens, listener, clock, redactor } = options;
        let (drain, stopping) = watch::channel(Drain::Open);
        let address = listener.local_addr()?;
        let door = Door::new(settings, routing, tokens, address, clock, redactor, stopping.clone());
        let door = Arc::new(door);
        let handle = Handle { door: door.clone(), drain: Arc::new(drain) };
        Ok((Self { door, listener, drain: stopping }, handle))
    }

    /// Serves until it is [finished](Handle::finish).
    pub async fn run(self, desk: Desk, whole: Arc<dyn Whole>) {
        let Self { door, listener, mut drain } = self;
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        door.begin(desk, whole);
        let mut seats = Seats { most: door.settings.max_connections as usize, ..Seats::default() };
        // Whoever waits for a seat: nobody is asked to leave before somebody comes.
        let mut waiting: Option<(TcpStream, SocketAddr)> = None;
        loop {
            if seats.taken.len() < seats.most
                && let Some((stream, peer)) = waiting.take()
            {
                seats.seat(&door, stream, peer, drain.clone());
            }
            let Seats { connections, taken, .. } = &mut seats;
            tokio::select! {
                _ = drain.changed() => break,
                Some(ended) = connections.join_next_with_id() => {
                    taken.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
                }
                () = make_room(taken, &door), if waiting.is_some() => {}
                accepted = listener.accept(), if waiting.is_none() => match accepted {
                    Ok(newcomer) => {
                        door.failed(None);
                        waiting = Some(newcomer);
                    }
                    // Gone before it was looked at.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        door.failed(Some(error.to_string()));
                        let _ = timeout(OUT_OF_DESCRIPTORS, drain.changed()).await;
                    }
                }
            }
        }
        drop(listener);
        let finished = async {
            let _ = drain.wait_for(|drain| *drain == Drain::Finishing).await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = finished => {}
            () = async { while seats.connections.join_next().await.is_some() {} } => {
                let _ = drain.wait_for(|drain| *drain == Drain::Finishing).await;
            }
        }
    }
}

/// The connections.
#[derive(Default)]
struct Seats {
    connections: JoinSet<()>,
    taken: HashMap<Id, Arc<Seat>>,
    most: usize,
}

impl Seats {
    fn seat(&mut self, door: &Arc<Door>, stream: TcpStream, peer: SocketAddr, drain: watch::Receiver<Drain>) {
        let seat = Arc::new(Seat::new(door.clone(), peer));
        let task = self.connections.spawn(connection::serve(stream, seat.clone(), drain));
        self.taken.insert(task.id(), seat);
    }
}

/// Asks those who are idle for longest to leave, again whenever somebody may be. Never returns: that somebody has left is
/// what matters.
async fn make_room(taken: &HashMap<Id, Arc<Seat>>, door: &Door) {
    loop {
        let idle = taken.values().filter(|seat| !seat.is_new());
        let mut idle: Vec<_> = idle.filter_map(|seat| Some((seat.idle_since()?, seat))).collect();
        idle.sort_unstable_by_key(|(since, _)| *since);
        // Several at once: where one comes, others do.
        let few = (taken.len() / 32).max(1);
        idle.iter().take(few).for_each(|(_, seat)| seat.leave());
        let _ = timeout(GRACE, door.became_idle.notified()).await;
    }
}
