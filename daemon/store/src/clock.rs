//! What time it is, and how time passes. The two are not the same: a wall clock is set, and a machine is suspended.
//!
//! | reading | follows | for |
//! |---|---|---|
//! | [`Clock::now`] | the wall clock, whatever is done to it | stamps; what is due at a time of the day or is kept in the database: due times, schedules, budgets' periods, alerts |
//! | [`Clock::steady`] | the clock of the boot: steps of the wall clock do not move it, a suspension counts | waits in memory: leads, providers' breakers; the supervisor moves its records' times by each [step](Clock::step), so that theirs do not change either |
//! | timers ([`Clock::instant`]) | the monotonic clock, which stands still in a suspension | whoever waits for longer looks again: [`Clock::alarm`], [`Clock::sleep_until`] |
//!
//! Leases and due times of tasks: on PostgreSQL its clock decides, and is watched: `postgres/server_clock.rs`. On SQLite this one's `now` does; after a step or a
//! suspension the engine sweeps no lease before all could be renewed, and what was due before the clock was set back is due.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nix::time::{ClockId, clock_gettime};
use tokio::time::{Instant, sleep_until};

/// How late a step of the wall clock, or the end of a suspension, may be noticed by who waits for a time of it.
const LOOK: Duration = Duration::from_secs(10);

/// Clocks that are read within this are read at one moment...
const AT_ONCE: Duration = Duration::from_millis(1);
/// ...which is tried so often.
const TRIES: u32 = 16;

/// What a machine's clocks say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock, which people and programs may set.
    pub wall: DateTime<Utc>,
    /// Since the machine's start.
    pub boot: Duration,
    /// The same without the time in which it was suspended.
    pub awake: Duration,
}

impl Reading {
    /// The system's. A debug build adds the seconds that stand in the file `OPENCLAW_CLOCK_STEP`, if that is set: a wall
    /// clock that is stepped, for tests that must not step the machine's.
    pub fn of_system() -> Self {
        // Linux has both.
        let since = |clock| clock_gettime(clock).map(Duration::from).unwrap_or_default();
        let step = stepped();
        let mut tries = 0;
        loop {
            let awake = since(ClockId::CLOCK_MONOTONIC);
            let (wall, boot) = (Utc::now() + step, since(ClockId::CLOCK_BOOTTIME));
            tries += 1;
            // Whoever is held up between two clocks finds them apart.
            if tries == TRIES || since(ClockId::CLOCK_MONOTONIC) - awake < AT_ONCE {
                return Self { wall, boot, awake };
            }
        }
    }
}

#[cfg(debug_assertions)]
fn stepped() -> TimeDelta {
    use std::path::PathBuf;
    use std::sync::LazyLock;

    static FILE: LazyLock<Option<PathBuf>> =
        LazyLock::new(|| std::env::var_os("OPENCLAW_CLOCK_STEP").map(PathBuf::from));
    let said = FILE.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    said.and_then(|said| said.trim().parse().ok()).and_then(TimeDelta::try_seconds).unwrap_or_default()
}

/// Nothing steps a release build's clock but the system.
#[cfg(not(debug_assertions))]
const fn stepped() -> TimeDelta {
    TimeDelta::zero()
}

/// The time. A test that pauses tokio's time moves both readings on with it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    read: fn() -> Reading,
    first: Reading,
    /// When that was read, by the timers' clock.
    since: Instant,
}

impl Clock {
    /// Of the system.
    pub fn new() -> Self {
        Self::of(Reading::of_system)
    }

    /// Of another source.
    pub fn of(read: fn() -> Reading) -> Self {
        Self { read, first: read(), since: Instant::now() }
    }

    /// What time it is: the wall clock.
    pub fn now(&self) -> DateTime<Utc> {
        let reading = (self.read)();
        reading.wall + self.paused(&reading)
    }

    /// What time it would be if nobody had set the wall clock since this was made.
    pub fn steady(&self) -> DateTime<Utc> {
        let reading = (self.read)();
        self.first.wall + signed(reading.boot) - signed(self.first.boot) + self.paused(&reading)
    }

    /// By how much the wall clock has been set forward since this was made: what is added to a steady time for people.
    pub fn step(&self) -> TimeDelta {
        let reading = (self.read)();
        (reading.wall - self.first.wall) - (signed(reading.boot) - signed(self.first.boot))
    }

    /// How long the machine has been suspended since its start.
    pub fn suspended(&self) -> Duration {
        let reading = (self.read)();
        reading.boot.saturating_sub(reading.awake)
    }

    /// The moment of a time of the wall clock as it is set now, for a deadline; now when it is past.
    pub fn instant(&self, at: DateTime<Utc>) -> Instant {
        let now = Instant::now();
        // What is too far for a timer is as good as never.
        let wait = (at - self.now()).to_std().unwrap_or_default();
        now.checked_add(wait).unwrap_or(now + Duration::from_secs(86_400 * 365))
    }

    /// When to look whether it is that time: then, and in 10 s at the latest, since the wall clock may be set until then.
    pub fn alarm(&self, at: DateTime<Utc>) -> Instant {
        self.instant(at).min(Instant::now() + LOOK)
    }

    /// Waits until it is that time.
    pub async fn sleep_until(&self, at: DateTime<Utc>) {
        while self.now() < at {
            sleep_until(self.alarm(at)).await;
        }
    }

    /// How far the timers' clock is ahead of the machine's: only a test's is, which pauses it.
    fn paused(&self, reading: &Reading) -> TimeDelta {
        signed(self.since.elapsed()) - (signed(reading.awake) - signed(self.first.awake))
    }
}

/// Uptimes are decades at most, and a difference of two has a sign.
fn signed(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static READING: Cell<Reading> = const {
            Cell::new(Reading { wall: DateTime::UNIX_EPOCH, boot: Duration::ZERO, awake: Duration::ZERO })
        };
    }

    fn turned(change: impl FnOnce(&mut Reading)) {
        let mut reading = READING.get();
        change(&mut reading);
        READING.set(reading);
    }

    /// The machine's clocks go on by themselves; tokio's, which is paused, does with them.
    async fn pass(span: Duration) {
        turned(|reading| {
            (reading.wall, reading.boot, reading.awake) =
                (reading.wall + span, reading.boot + span, reading.awake + span)
        });
        tokio::time::advance(span).await;
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_set_wall_clock_is_followed_and_moves_no_wait() {
        let clock = Clock::of(|| READING.get());
        let began = clock.now();
        pass(HOUR).await;
        assert_eq!((clock.now(), clock.steady()), (began + HOUR, began + HOUR));
        turned(|reading| reading.wall -= 5 * HOUR);
        assert_eq!((clock.now(), clock.steady()), (began - 4 * HOUR, began + HOUR));
        assert_eq!(clock.step(), TimeDelta::hours(-5));
        assert_eq!(clock.suspended(), Duration::ZERO);
        pass(HOUR).await;
        assert_eq!((clock.now(), clock.steady()), (began - 3 * HOUR, began + 2 * HOUR));
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspension_passes_by_both_and_is_no_step() {
        let clock = Clock::of(|| READING.get());
        let began = clock.now();
        turned(|reading| (reading.wall, reading.boot) = (reading.wall + HOUR, reading.boot + HOUR));
        assert_eq!((clock.now(), clock.steady()), (began + HOUR, began + HOUR));
        assert_eq!((clock.step(), clock.suspended()), (TimeDelta::zero(), HOUR));
    }

    #[tokio::test(start_paused = true)]
    async fn paused_time_moves_both() {
        let clock = Clock::of(|| READING.get());
        let began = clock.now();
        tokio::time::advance(HOUR).await;
        assert_eq!((clock.now(), clock.steady()), (began + HOUR, began + HOUR));
        assert_eq!(clock.step(), TimeDelta::zero());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_time_sees_that_the_clock_was_set() {
        let clock = Clock::of(|| READING.get());
        let (began, waits) = (Instant::now(), clock.now() + 10 * HOUR);
        tokio::join!(clock.sleep_until(waits), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            turned(|reading| reading.wall += 11 * HOUR);
        });
        assert!(began.elapsed() <= 2 * LOOK, "{:?}", began.elapsed());
        assert_eq!(clock.instant(waits), Instant::now());
    }

    #[test]
    fn the_system_has_these_clocks() {
        let first = Reading::of_system();
        let second = Reading::of_system();
        assert!(first.awake > Duration::ZERO && first.boot >= first.awake);
        assert!(second.boot >= first.boot && second.awake >= first.awake);
    }
}
