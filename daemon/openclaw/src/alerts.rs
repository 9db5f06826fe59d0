//! Alerts that this process finds: those that wait in files, and a bus that is away.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use gateway::alerts::{Options, Teller};
use gateway::desk::Raise;
use openclaw_agent_api::AgentName;
use operations::spool;
use settings::Settings;
use store::alert::{Change, News, Report};
use store::{Clock, Store};
use supervisor::alerts::{self, Level, Topic, report};
use tokio::time::sleep;

/// Both are looked at so often.
const LOOK: Duration = Duration::from_secs(5);
/// A bus that is away for so long is more than a restart of it.
const AWAY: Duration = Duration::from_secs(60);

/// The name of the whole, where no agent is meant.
#[allow(clippy::expect_used, reason = "a constant that is a name")]
pub fn whole() -> AgentName {
    "openclaw".parse().expect("a name")
}

/// What a failed unit's alert, and its end, are known by.
pub fn of_unit(unit: &str) -> String {
    format!("unit:{unit}")
}

/// Who tells the operator, of a process with a gateway; `bot`: it can.
pub fn teller(settings: &Settings, bot: bool, store: Store, bus: Arc<dyn Bus>, clock: Clock) -> Teller {
    Teller::new(Options { settings: settings.alerts.clone(), chats: chats(settings, bot), store, bus, clock })
}

/// The chats in which operators are told, if there is a bot.
pub fn chats(settings: &Settings, bot: bool) -> Vec<i64> {
    let named = &settings.alerts.chats;
    match bot {
        true => if named.is_empty() { &settings.telegram.operators } else { named }.clone(),
        false => Vec::new(),
    }
}

/// Takes up what waits in files, for ever. This process runs as `unit`, which so has not failed any more.
pub async fn take(home: PathBuf, process: String, store: Store, unit: Option<String>, clock: Clock) {
    let folder = spool::folder(&home);
    spool::put_back(&folder, &process);
    // In the order in which they are stored: what failed before this process ran, and then that it runs.
    let mut waiting = take_up(&folder, &process);
    if let Some(unit) = unit {
        let key = format!("{}:{}", whole(), of_unit(&unit));
        let text = format!("the unit {unit} runs again");
        waiting.push_back((None, report(News::Over, whole(), key, &text, clock.now())));
    }
    loop {
        while let Some((file, report)) = waiting.front() {
            // One that may have been stored is so again: rather counted twice than lost.
            if store.change_alerts(Change::Report(vec![report.clone()])).await.is_err() {
                break;
            }
            file.iter().for_each(|file| spool::done(file));
            waiting.pop_front();
        }
        sleep(LOOK).await;
        if waiting.is_empty() && folder.is_dir() {
            waiting = take_up(&folder, &process);
        }
    }
}

/// The alerts that wait in files, oldest first, and where they are until they are stored.
fn take_up(folder: &Path, process: &str) -> VecDeque<(Option<PathBuf>, Report)> {
    let found = spool::waiting::<Raise>(folder).into_iter();
    let taken = found.filter_map(|(path, waiting)| {
        let file = spool::take(&path, process)?;
        let key = waiting.alert.key();
        let Raise { level, text, source, .. } = waiting.alert;
        let news = level.map_or(News::Over, |level| News::Wrong(level, 1));
        Some((Some(file), report(news, source, key, &text, waiting.at)))
    });
    taken.collect()
}

/// Tells of a bus that is away, and of its return, for ever.
pub async fn watch_bus(bus: Arc<dyn Bus>, store: Store, clock: Clock) {
    let mut told = false;
    loop {
        sleep(LOOK).await;
        let (health, name) = (bus.health(), whole());
        if health.connected {
            // Also where an earlier life told it.
            if told || health.since.elapsed() < LOOK * 2 {
                let text = format!("{} answers again", health.what);
                alerts::over(&store, &name, Topic::Bus, &text, clock.now());
            }
            told = false;
        } else if !told && health.since.elapsed() >= AWAY {
            let why = health.error.unwrap_or_else(|| "it does not answer".into());
            let text = format!(
                "{} is away: {why}; work goes on, signals and what is shown there do not",
                health.what
            );
            alerts::raise(&store, Level::Warning, &name, Topic::Bus, &text, clock.now());
            told = true;
        }
    }
}
