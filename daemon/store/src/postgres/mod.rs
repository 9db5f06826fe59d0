//! PostgreSQL: one connection that writes, a few that read, and other daemons beside this one.
//!
//! ```text
//!  begin, and what time it is here ─▶ locks ─▶ the batch's statements ─▶ commit ─▶ applied
//!        │ broken: nothing has changed                │ broken            │ not answered
//!        └───────────▶ an error ◀─────────────────────┘                   ▼
//!                          ▲ aborted                      ask after what it left,
//!                          └───────────────────────────── on a new connection ─▶ committed: applied
//! ```
//!
//! Leases and due times are judged by the database's clock: see [`Moment`], and [`ServerClock`] for when it is set. Two of one session never run at once, since
//! whoever adds to a session or ends something of it holds the session's lock: see `locks.rs`.

mod commit;
mod connect;
pub(crate) mod dialect;
mod lead;
mod list;
pub(crate) mod locks;
#[cfg(test)]
mod plans;
mod server_clock;
mod shared;
mod sightings;
mod statements;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::Turn;
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use self::commit::Doubt;
pub(crate) use self::connect::MIGRATIONS;
pub use self::connect::Server;
use self::server_clock::{Look, ServerClock};
use self::sightings::Sightings;
use crate::Error;
use crate::alert::{Alert, Level};
use crate::backend::{Applied, Backend, Batch, Claim, Claimant, Depth, Event, Heartbeat, Renewed};
use crate::ledger::{Call, Usage};
use crate::mission::Mission;
use crate::tally::Count;
use crate::task::{Ended, Filter, NewTask, Task, TaskId};
use crate::transaction::{self, Moment};

/// The longest a transaction may take up to its commit; each statement of it has its own bound.
const LONGEST: Duration = Duration::from_secs(20);
/// How often a transaction is tried that was in another one's way.
const TRIES: u32 = 4;
/// How long a transaction is held up by what a clock that was set back has left.
const AT_ONCE: Duration = Duration::from_secs(1);

const BEGIN: &str =
    "begin isolation level read committed; select clock_timestamp(), pg_current_xact_id()::text";
const REPLAN_AND_BEGIN: &str = "discard plans; begin isolation level read committed; select clock_timestamp(), pg_current_xact_id()::text";

/// Whose clock decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deciding {
    /// The database's: that of a daemon may be wrong.
    Database,
    /// The caller's, who wants to turn it.
    Caller,
}

/// An open database.
pub(crate) struct Postgres {
    server: Server,
    deciding: Deciding,
    /// By which its commits are known.
    life: Uuid,
    writer: Mutex<Writer>,
    leader: Mutex<Leader>,
    readers: PgPool,
}

/// What writes.
struct Writer {
    /// None before the first use, and after a fault: then the next one connects anew.
    connection: Option<PgConnection>,
    doubt: Option<Doubt>,
    plans: Plans,
    clock: ServerClock,
    /// Transactions so far.
    count: i64,
}

impl Writer {
    fn new(now: Instant) -> Self {
        let clock = ServerClock::new(now);
        Self { connection: None, doubt: None, plans: Plans::default(), clock, count: 0 }
    }
}

/// Who keeps the leads.
#[derive(Default)]
struct Leader {
    /// Made when it is wanted, and anew after a fault.
    connection: Option<PgConnection>,
    sightings: Sightings,
}

/// How old the plans of prepared statements are. They are made for a table of some size, and one for an empty table
/// serves a large one badly; until statistics are gathered, which makes them anew as well, a minute may pass.
#[derive(Default)]
struct Plans {
    transactions: u32,
    made_at: Option<Instant>,
}

impl Plans {
    /// Plans serve so many transactions at least, so that who sends little does not wait for planning each time...
    const LEAST: u32 = 64;
    /// ...and no longer than this where a table may grow fast.
    const AGE: Duration = Duration::from_secs(1);

    /// Whether to make them anew.
    fn are_old(&mut self) -> bool {
        let now = Instant::now();
        self.transactions += 1;
        let old = self.transactions > Self::LEAST && self.made_at.is_none_or(|at| now > at + Self::AGE);
        if old {
            *self = Self { transactions: 0, made_at: Some(now) };
        }
        old
    }
}

/// What a transaction is for.
#[derive(Clone, Copy)]
enum Work<'a> {
    /// To carry out a batch.
    Batch(&'a Batch, &'a Claimant),
    /// To free what earlier lives had leased.
    Free(&'a Claimant),
}

impl<'a> Work<'a> {
    fn claimant(self) -> &'a Claimant {
        match self {
            Self::Batch(_, claimant) | Self::Free(claimant) => claimant,
        }
    }

    async fn run(self, db: &mut PgConnection, moment: &Moment) -> Result<Applied, Error> {
        match self {
            Self::Batch(batch, claimant) => {
                locks::of_batch(db, batch, moment).await?;
                transaction::apply(db, batch, claimant, moment).await
            }
            Self::Free(claimant) => {
                locks::of_lives(db, claimant).await?;
                let freed = transaction::free(db, claimant, moment.now).await?;
                Ok(Applied { freed, ..Applied::default() })
            }
        }
    }
}

/// Opens the database and brings it to this binary's form.
///
/// # Errors
/// [`Error::Away`], [`Error::Refused`]; [`Error::Newer`] when a newer OpenClaw wrote it.
pub async fn open_postgres(server: Server) -> Result<Arc<dyn Backend>, Error> {
    Ok(Arc::new(Postgres::open(server, Deciding::Database).await?))
}

impl Postgres {
    /// As [`open_postgres`].
    pub(crate) async fn open(server: Server, deciding: Deciding) -> Result<Self, Error> {
        server.migrate().await?;
        let readers = server.readers();
        let life = Uuid::now_v7();
        let writer = Mutex::new(Writer::new(Instant::now()));
        let postgres = Self { server, deciding, life, writer, leader: Mutex::default(), readers };
        // What it would refuse later is told now. Nobody asks after the commits of a life that is long over.
        let forget = "delete from commits where written_at < clock_timestamp() - interval '30 days'";
        postgres.write(async |db| connect::run(db, forget).await).await?;
        if deciding == Deciding::Database {
            let last = "select coalesce(max(written_at), clock_timestamp()), clock_timestamp() from commits";
            let (last, said) =
                postgres.write(async |db| Ok(sqlx::query_as(last).fetch_one(db).await?)).await?;
            postgres.writer.lock().await.clock.remembers(last, said);
        }
        Ok(postgres)
    }

    /// The connection that writes, for statements that need no transaction. After a fault it is made anew.
    pub(crate) async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // Closed with everything else, and not made anew.
        if self.readers.is_closed() {
            return Err(Error::Closed);
        }
        let mut writer = self.writer.lock().await;
        let mut connection = self.server.take(&mut writer).await?;
        let done = bounded(work(&mut connection)).await;
        if done.is_ok() {
            writer.connection = Some(connection);
        }
        done
    }

    /// By a connection for lookups: one that is not to be had is wanted by too many, or made in vain.
    async fn read<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match bounded(work).await {
            Err(Error::Busy) if !self.crowded() => Err(Error::Away("no connection to be had".into())),
            done => done,
        }
    }

    /// A connection of its own: a lead must not be lost since the queue is slow; and so little time for each try that there
    /// are several, each on a new one, before a lease of that length has run out.
    async fn lead<T>(
        &self,
        ttl: Duration,
        work: impl AsyncFnOnce(&mut PgConnection, &mut Sightings) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let limit = (ttl / 6).clamp(Duration::from_millis(200), Duration::from_secs(3));
        let mut leader = self.leader.lock().await;
        let Leader { connection, sightings } = &mut *leader;
        let taken = connection.take();
        let worked = tokio::time::timeout(limit, async {
            let mut connection = match taken {
                Some(connection) => connection,
                None => self.server.connect().await?,
            };
            let done = work(&mut connection, sightings).await?;
            Ok::<_, Error>((connection, done))
        });
        let late = || Err(Error::Away(format!("no answer within {} ms", limit.as_millis())));
        let (good, done) = worked.await.unwrap_or_else(|_| late())?;
        *connection = Some(good);
        Ok(done)
    }

    /// All of it in one transaction, or nothing of it. Tried again while others are in the way.
    async fn transact(&self, told: DateTime<Utc>, work: Work<'_>) -> Result<Applied, Error> {
        let mut writer = self.writer.lock().await;
        let mut tries = 0;
        self.put_right(&mut writer, work.claimant().lease).await?;
        loop {
            tries += 1;
            match self.attempt(&mut writer, told, work).await {
                Err(Error::InTheWay(_)) if tries < TRIES => {}
                Err(Error::InTheWay(why)) => return Err(Error::Database(why)),
                done => return done,
            }
        }
    }

    async fn attempt(
        &self,
        writer: &mut Writer,
        told: DateTime<Utc>,
        work: Work<'_>,
    ) -> Result<Applied, Error> {
        // Taken out: what is cancelled or fails leaves none behind.
        let mut db = self.server.take(writer).await?;
        let mut begun = None;
        let replan = writer.plans.are_old();
        let worked = bounded(async {
            let clock = &mut writer.clock;
            let (moment, number) = self.begin(&mut db, clock, told, work.claimant().lease, replan).await?;
            begun = Some(number);
            work.run(&mut db, &moment).await
        });
        let (applied, number) = match (worked.await, begun) {
            (Ok(applied), Some(number)) => (applied, number),
            (Err(error), _) => {
                // Where the connection is broken the server rolls back by itself.
                if !error.is_away() && connect::run(&mut db, "rollback").await.is_ok() {
                    writer.connection = Some(db);
                }
                return Err(error);
            }
            (Ok(_), None) => return Err(Error::Database("a transaction did not begin".into())),
        };
        writer.count += 1;
        let count = writer.count;
        self.commit(writer, db, Doubt { number, count, applied }).await
    }

    /// What a clock that was set back would keep waiting. Where that is not to be had now it is with the next transaction, which
    /// another one's fault does not hold up.
    async fn put_right(&self, writer: &mut Writer, lease: Duration) -> Result<(), Error> {
        let Some(before) = writer.clock.set_back_from() else { return Ok(()) };
        let mut db = self.server.take(writer).await?;
        let done = bounded(server_clock::set_back(&mut db, before, lease, Instant::now() + AT_ONCE)).await;
        match done {
            Err(error) if error.is_away() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "what waits for the database's clock, which was set back, waits on")
            }
            Ok(true) => writer.clock.put_right(),
            Ok(false) => {}
        }
        writer.connection = Some(db);
        Ok(())
    }

    /// The time by the clock that decides, and the transaction's number: one round trip.
    async fn begin(
        &self,
        db: &mut PgConnection,
        clock: &mut ServerClock,
        told: DateTime<Utc>,
        lease: Duration,
        replan: bool,
    ) -> Result<(Moment, String), Error> {
        let sql = if replan { REPLAN_AND_BEGIN } else { BEGIN };
        let asked = Instant::now();
        let row = sqlx::raw_sql(sql).fetch_one(db).await?;
        let answered = Instant::now();
        let moment = match self.deciding {
            Deciding::Database => {
                let said = row.try_get(0)?;
                if let Some(by) = clock.looked(Look { said, asked, answered }) {
                    let seconds = by.num_seconds();
                    tracing::warn!(
                        "the database's clock was set by {seconds} s: no lease counts as lost before it could be renewed"
                    );
                }
                let (tells_leases, tells_ages) =
                    (clock.tells_leases(lease, answered), clock.tells_ages(answered));
                Moment { tells_leases, tells_ages, ..Moment::of_database(said, told) }
            }
            Deciding::Caller => Moment::own(told),
        };
        Ok((moment, row.try_get(1)?))
    }

    async fn moment(&self, db: &mut PgConnection, told: DateTime<Utc>) -> Result<Moment, Error> {
        if self.deciding == Deciding::Caller {
            return Ok(Moment::own(told));
        }
        let now = sqlx::query_scalar("select clock_timestamp()").fetch_one(db).await?;
        Ok(Moment::of_database(now, told))
    }
}

/// Nothing hangs: what takes longer has failed.
async fn bounded<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Error::Away(format!("no answer within {} s", LONGEST.as_secs()));
    tokio::time::timeout(LONGEST, work).await.unwrap_or_else(|_| Err(late()))
}

#[async_trait]
impl Backend for Postgres {
    fn shared(&self) -> bool {
        true
    }

    async fn apply(&self, batch: &Batch, claimant: &Claimant, now: DateTime<Utc>) -> Result<Applied, Error> {
        self.transact(now, Work::Batch(batch, claimant)).await
    }

    async fn resolve(&self) -> Result<Option<Applied>, Error> {
        let mut writer = self.writer.lock().await;
        self.settle(&mut writer).await
    }

    async fn ended(&self, tasks: &[TaskId]) -> Result<Vec<Ended>, Error> {
        // Not by a reader, as all that the engine asks: it waits for nobody's long list, and no dead line is asked twice.
        self.write(async |db| list::ended(db, tasks).await).await
    }

    async fn claim_agents(
        &self,
        agents: &[AgentName],
        claimant: &Claimant,
        ttl: Duration,
    ) -> Result<Vec<(AgentName, Claim)>, Error> {
        self.lead(ttl, async |db, seen| lead::claim(db, seen, agents, claimant, ttl).await).await
    }

    async fn renew_agents(
        &self,
        held: &[(AgentName, i64)],
        claimant: &Claimant,
        ttl: Duration,
    ) -> Result<Renewed, Error> {
        self.lead(ttl, async |db, _| lead::renew(db, held, claimant, ttl).await).await
    }

    async fn led(&self, agents: &[AgentName], lately: Duration) -> Result<Vec<AgentName>, Error> {
        self.read(list::led(&self.readers, agents, lately)).await
    }

    async fn release_agents(&self, held: &[(AgentName, i64)], claimant: &Claimant) -> Result<(), Error> {
        self.lead(LONGEST, async |db, _| lead::release(db, held, claimant).await).await
    }

    async fn recover(&self, claimant: &Claimant, now: DateTime<Utc>) -> Result<u64, Error> {
        Ok(self.transact(now, Work::Free(claimant)).await?.freed)
    }

    async fn next_due(&self, after: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Error> {
        // Not by a reader: the engine must not wait for somebody's long list.
        let due = async |db: &mut PgConnection| {
            let moment = self.moment(db, after).await?;
            let due = shared::next_due(db, moment.now).await?;
            Ok(due.map(|at| at - moment.shift))
        };
        self.write(due).await
    }

    async fn depths(&self) -> Result<Vec<(String, Depth)>, Error> {
        self.write(async |db| shared::depths(&mut *db).await).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, Error> {
        self.write(async |db| shared::task(&mut *db, id).await).await
    }

    async fn stored(&self, tasks: &[&NewTask]) -> Result<Vec<TaskId>, Error> {
        self.write(async |db| transaction::stored(db, tasks).await).await
    }

    async fn tasks(&self, filter: &Filter) -> Result<Vec<Task>, Error> {
        self.read(list::tasks(&self.readers, filter)).await
    }

    async fn records(&self) -> Result<Vec<(String, String)>, Error> {
        self.read(shared::records(&self.readers)).await
    }

    async fn events(&self, agent: &AgentName, kind: &str, limit: u32) -> Result<Vec<Event>, Error> {
        self.read(shared::events(&self.readers, agent, kind, limit)).await
    }

    async fn events_after(&self, id: i64, limit: u32) -> Result<Vec<Event>, Error> {
        self.read(shared::events_after(&self.readers, id, limit)).await
    }

    async fn last_event(&self) -> Result<i64, Error> {
        self.read(shared::last_event(&self.readers)).await
    }

    async fn alerts(&self, limit: u32) -> Result<Vec<Alert>, Error> {
        self.read(shared::alerts(&self.readers, limit)).await
    }

    async fn missions(&self, limit: u32) -> Result<Vec<Mission>, Error> {
        self.read(shared::missions(&self.readers, limit)).await
    }

    async fn open_alerts(&self) -> Result<Vec<(Level, u64)>, Error> {
        self.read(shared::open_alerts(&self.readers)).await
    }

    async fn alerts_due(&self, by: DateTime<Utc>) -> Result<Vec<Alert>, Error> {
        // By the clock by which they are due.
        let due = async |db: &mut PgConnection| {
            let moment = self.moment(db, by).await?;
            shared::alerts_due(db, moment.now).await
        };
        self.write(due).await
    }

    async fn next_alert(&self) -> Result<Option<DateTime<Utc>>, Error> {
        let next = async |db: &mut PgConnection| {
            let moment = self.moment(db, Utc::now()).await?;
            Ok(shared::next_alert(db).await?.map(|at| at - moment.shift))
        };
        self.write(next).await
    }

    async fn alerts_arrived(&self) -> Result<Vec<(i64, DateTime<Utc>)>, Error> {
        self.read(shared::alerts_arrived(&self.readers)).await
    }

    async fn heartbeats(&self, agent: &AgentName, limit: u32) -> Result<Vec<Heartbeat>, Error> {
        self.read(shared::heartbeats(&self.readers, agent, limit)).await
    }

    async fn last_heartbeats(&self) -> Result<Vec<Heartbeat>, Error> {
        self.read(shared::last_heartbeats(&self.readers)).await
    }

    async fn agents_since(&self, since: DateTime<Utc>) -> Result<Vec<String>, Error> {
        self.read(shared::agents_since(&self.readers, since)).await
    }

    async fn recall(&self, agent: &AgentName, key: &str) -> Result<Option<String>, Error> {
        self.read(shared::recall(&self.readers, agent, key)).await
    }

    async fn keys(&self, agent: &AgentName, prefix: &str, limit: u32) -> Result<Vec<String>, Error> {
        self.read(shared::keys(&self.readers, agent, prefix, limit)).await
    }

    async fn memory_keys(&self, agent: &AgentName) -> Result<u32, Error> {
        self.read(shared::memory_keys(&self.readers, agent)).await
    }

    async fn turns(&self, agent: &AgentName, session: &str, limit: u32) -> Result<Vec<Turn>, Error> {
        self.read(shared::turns(&self.readers, agent, session, limit)).await
    }

    fn crowded(&self) -> bool {
        self.readers.num_idle() == 0 && self.readers.size() >= connect::READERS
    }

    async fn usage(&self, periods: &[String]) -> Result<Vec<Usage>, Error> {
        self.read(shared::usage(&self.readers, periods)).await
    }

    async fn asked(&self, agent: &AgentName, day: NaiveDate) -> Result<Vec<Count>, Error> {
        self.read(shared::asked(&self.readers, agent, day)).await
    }

    async fn calls(&self, agent: Option<&AgentName>, limit: u32) -> Result<Vec<Call>, Error> {
        self.read(shared::calls(&self.readers, agent, limit)).await
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.lock().await.connection = None;
        self.leader.lock().await.connection = None;
    }
}
