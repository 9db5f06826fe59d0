//! The server's clock, which decides when a task is due and when its lease has run out, and which may be set.
//!
//! Each transaction asks it. Where it has gone on by more or less than this process's timers have, it was set: then leases
//! look other than they are, until whoever lives has renewed them. So nobody's are taken away for as long as a lease lasts,
//! and no more when this process begins, since it cannot know what was before. What a clock that was set back would keep
//! waiting is put right before the next: see [`set_back`].

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::dialect;
use crate::Error;
use crate::engine::DELETED_AFTER;

/// A clock that is off by no more was not set...
const JUMP: TimeDelta = TimeDelta::seconds(1);
/// ...nor by this part of the time since it was asked last: no two run alike.
const DRIFT: i32 = 1000;

/// Rows that one statement puts right at the most.
const ROWS: u64 = 2000;

/// What it has said to this process.
pub(super) struct ServerClock {
    last: Option<Look>,
    /// Since when it has gone as the timers do.
    even_since: Instant,
    /// When it was set last; it may have been right before this process began.
    set_at: Instant,
    /// What it would say if it had not been set back, until that is put right.
    set_back_from: Option<DateTime<Utc>>,
}

/// One answer.
#[derive(Clone, Copy)]
pub(super) struct Look {
    pub said: DateTime<Utc>,
    pub asked: Instant,
    pub answered: Instant,
}

impl ServerClock {
    pub fn new(now: Instant) -> Self {
        Self { last: None, even_since: now, set_at: now, set_back_from: None }
    }

    /// What was said now. Answers by how much it was set since it was asked last, if it was.
    pub fn looked(&mut self, look: Look) -> Option<TimeDelta> {
        let last = self.last.replace(look)?;
        // Each was said at some time between question and answer.
        let earliest = last.said + signed(look.asked.saturating_duration_since(last.answered));
        let latest = last.said + signed(look.answered - last.asked);
        let slack = JUMP + (latest - last.said) / DRIFT;
        let set = if look.said > latest + slack {
            look.said - latest
        } else if look.said < earliest - slack {
            let before = self.set_back_from.map_or(earliest, |from| from.max(earliest));
            self.set_back_from = Some(before);
            look.said - earliest
        } else {
            return None;
        };
        self.even_since = look.answered;
        self.set_at = look.answered;
        Some(set)
    }

    /// What some daemon was told last, before this process began: a clock that says less was set back meanwhile.
    pub fn remembers(&mut self, last: DateTime<Utc>, said: DateTime<Utc>) {
        if said < last - JUMP {
            self.set_back_from = Some(last);
        }
    }

    /// Whether who lives has renewed by now what it has for so long.
    pub fn tells_leases(&self, lease: Duration, now: Instant) -> bool {
        now >= self.even_since + lease
    }

    /// Whether ages may be told by it.
    pub fn tells_ages(&self, now: Instant) -> bool {
        now >= self.set_at + DELETED_AFTER
    }

    /// From when it was set back, if what waits has not been put right.
    pub fn set_back_from(&self) -> Option<DateTime<Utc>> {
        self.set_back_from
    }

    /// It has been.
    pub fn put_right(&mut self) {
        self.set_back_from = None;
    }
}

/// What was due is due, and so is what waits for another try, of which nobody can tell any more how long it is to wait; and
/// no lease lasts longer than a new one, in which whoever lives renews it, if its own are no more than three times as long. Done
/// by each daemon that sees it; a second time it changes little. Each statement is a transaction of its own and changes some
/// rows alone, none that another is at: it may be cut off anywhere. Answers whether all is done.
pub(super) async fn set_back(
    db: &mut PgConnection,
    before: DateTime<Utc>,
    lease: Duration,
    until: Instant,
) -> Result<bool, Error> {
    let due = |state| {
        format!(
            "update task_queue set run_at = clock_timestamp() where id in (
               select id from task_queue where state = '{state}' and run_at > clock_timestamp()
                 and (run_at <= $1 or attempts > 0) limit {ROWS} for update skip locked)"
        )
    };
    let leases = format!(
        "update task_queue set lease_until = clock_timestamp() + $2 * interval '1 ms' where id in (
           select id from task_queue where state = 'leased' and lease_until > clock_timestamp() + $2 * interval '1 ms'
             and $1::timestamptz is not null limit {ROWS} for update skip locked)"
    );
    // Somebody waits for an alert that is late by a day; one that comes early is looked at and waits on.
    let alerts = format!(
        "update alerts set due_at = clock_timestamp() where id in (
           select id from alerts where due_at > clock_timestamp() and $1::timestamptz is not null
           limit {ROWS} for update skip locked)"
    );
    // What is remembered of it.
    let commits = format!(
        "update commits set written_at = clock_timestamp() where writer in (
           select writer from commits where written_at > clock_timestamp() and $1::timestamptz is not null
           limit {ROWS} for update skip locked)"
    );
    let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
    for sql in [due("queued"), due("leased"), leases, alerts, commits] {
        let takes_lease = sql.contains("$2");
        loop {
            // Constants of this module; whatever comes from outside is bound.
            let statement = sqlx::query(AssertSqlSafe(sql.as_str())).bind(dialect::at(before));
            let statement = if takes_lease { statement.bind(lease) } else { statement };
            let changed = statement.execute(&mut *db).await?.rows_affected();
            if Instant::now() > until {
                return Ok(false);
            }
            if changed < ROWS {
                break;
            }
        }
    }
    Ok(true)
}

/// Nothing here takes so long that it would not fit.
fn signed(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    /// Asked at some second, and answered so many later; the server is ahead by `ahead` seconds.
    fn look(began: Instant, at: u64, took: u64, ahead: i64) -> Look {
        let asked = began + Duration::from_secs(at);
        let said =
            DateTime::UNIX_EPOCH + TimeDelta::days(9_000) + TimeDelta::seconds(at.cast_signed() + ahead);
        Look { said, asked, answered: asked + Duration::from_secs(took) }
    }

    #[test]
    fn a_clock_that_is_set_is_told_and_nobody_s_leases_are_judged_by_it() {
        let began = Instant::now();
        let at = |secs| began + Duration::from_secs(secs);
        let mut clock = ServerClock::new(began);
        assert_eq!(clock.looked(look(began, 0, 0, 0)), None);
        assert!(!clock.tells_leases(LEASE, at(14)) && clock.tells_leases(LEASE, at(15)));
        assert_eq!(clock.looked(look(began, 20, 0, 3600)), Some(TimeDelta::hours(1)));
        assert!(!clock.tells_leases(LEASE, at(34)) && clock.tells_leases(LEASE, at(35)));
        assert!(!clock.tells_ages(at(3619)) && clock.tells_ages(at(3620)));
        // As after a start.
        assert!(
            !ServerClock::new(began).tells_ages(at(3599)) && ServerClock::new(began).tells_ages(at(3600))
        );
        assert_eq!((clock.looked(look(began, 40, 0, 3600)), clock.set_back_from()), (None, None));
        // Set back twice before it is put right: what was due by the first is due.
        assert_eq!(clock.looked(look(began, 50, 0, 0)), Some(TimeDelta::hours(-1)));
        let from = clock.set_back_from();
        assert_eq!(from, Some(look(began, 50, 0, 3600).said));
        assert_eq!(clock.looked(look(began, 51, 0, -60)), Some(TimeDelta::minutes(-1)));
        assert_eq!(clock.set_back_from(), from);
        clock.put_right();
        assert_eq!(clock.set_back_from(), None);
    }

    #[test]
    fn what_was_set_back_while_nobody_looked_is_known_by_what_was_written() {
        let (began, now) = (Instant::now(), DateTime::UNIX_EPOCH + TimeDelta::days(9_000));
        let mut clock = ServerClock::new(began);
        clock.remembers(now - TimeDelta::hours(1), now);
        assert_eq!(clock.set_back_from(), None);
        clock.remembers(now + TimeDelta::hours(1), now);
        assert_eq!(clock.set_back_from(), Some(now + TimeDelta::hours(1)));
    }

    proptest! {
        /// Whatever the delays, a clock that goes on as the timers do was not set; and one that was set by more than all
        /// delays together is told.
        #[test]
        fn delays_are_no_steps(looks in prop::collection::vec((0..100_u64, 0..30_u64, 0..=1_u64), 2..20), step in 200..9_000_i64) {
            let began = Instant::now();
            let mut clock = ServerClock::new(began);
            let mut at = 0;
            for (pause, took, when) in looks {
                at += pause;
                // Said at the beginning of that time, or at its end.
                let one = look(began, at, took, (took * when).cast_signed());
                prop_assert_eq!(clock.looked(one), None);
                at += took;
            }
            let mut set = clock;
            prop_assert!(set.looked(look(began, at, 0, step)).is_some_and(|by| by > TimeDelta::zero()));
        }
    }
}
