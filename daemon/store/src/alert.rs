//! Alerts: what the operator should hear of. One row of `alerts` for each thing that goes wrong, from its first occurrence
//! until it is over, by its fingerprint; each occurrence adds to its count.
//!
//! Whoever says something of alerts names the [`revision`](Alert::revision) that it has read of each: where several
//! processes want to say the same, one does.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::task::{NewTask, TaskId};

/// Reports that wait for a database which cannot be written, each with all its occurrences; the oldest give way.
pub(crate) const HELD_REPORTS: usize = 1024;
/// The most alerts that one list shows, and that one look is about.
pub const LISTED_ALERTS: u32 = 1000;

/// How much an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Something failed, and was dealt with.
    Warning,
    /// Somebody must do something.
    Critical,
}

impl Level {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// No level is called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no level of an alert is called `{}`: write INFO, WARNING or CRITICAL", .0.escape_debug())]
pub struct NoSuchLevel(pub String);

impl FromStr for Level {
    type Err = NoSuchLevel;

    fn from_str(text: &str) -> Result<Self, NoSuchLevel> {
        let all = [Self::Info, Self::Warning, Self::Critical];
        let found = all.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| NoSuchLevel(text.into()))
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The fingerprint: reports with the same one are about the same.
    pub key: String,
    /// About whom.
    pub source: AgentName,
    /// What.
    pub news: News,
    /// In a sentence.
    pub text: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// It went wrong, so many times.
    Wrong(Level, u32),
    /// It is over. Where it had not gone wrong, this is no news.
    Over,
}

/// Adds a report: occurrences of the same that wait together are one report. The oldest give way.
pub(crate) fn add(waiting: &mut std::collections::VecDeque<Report>, report: Report) {
    if let News::Wrong(level, more) = report.news
        && let Some(last) = waiting.iter_mut().rfind(|waiting| waiting.key == report.key)
        && let News::Wrong(before, count) = last.news
    {
        let news = News::Wrong(level.max(before), count.saturating_add(more));
        *last = Report { news, ..report };
        return;
    }
    if waiting.len() >= HELD_REPORTS {
        waiting.pop_front();
    }
    waiting.push_back(report);
}

/// A row of `alerts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Ever larger.
    pub id: i64,
    /// How much it matters: the worst that was reported.
    pub level: Level,
    /// About whom.
    pub source: String,
    /// What happened last, in a sentence.
    pub text: String,
    /// The fingerprint.
    pub key: String,
    /// Occurrences.
    pub count: u32,
    /// The first.
    pub created_at: DateTime<Utc>,
    /// The last.
    pub last_at: DateTime<Utc>,
    /// When somebody said that they know.
    pub acked_at: Option<DateTime<Utc>>,
    /// Who.
    pub acked_by: Option<String>,
    /// The task of the last message about it, to the first of the chats that are told.
    pub message: Option<TaskId>,
    /// When the last message about it arrived, in the first of the chats that are told.
    pub delivered_at: Option<DateTime<Utc>>,
    /// Why that message never arrives, where that is so; not looked up for those that are due.
    #[serde(default)]
    pub undelivered: Option<String>,
    /// When it was over.
    pub resolved_at: Option<DateTime<Utc>>,
    /// How, in a sentence.
    pub resolution: Option<String>,
    /// What the operator was told: whoever says something keeps it here.
    #[serde(skip)]
    pub told: Value,
    /// Changes with each change but an occurrence.
    #[serde(skip)]
    pub revision: i64,
}

/// Which alerts somebody knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All that are open, but for what is only good to know.
    All,
    /// The one of this id.
    Id(i64),
    /// The one of this fingerprint.
    Key(String),
}

/// What is done with alerts.
#[derive(Clone, Debug)]
pub enum Change {
    /// These happened. Answers how many are news: unlike what is left with [`Store::report`](crate::Store::report), none gives
    /// way to others, and who has left one knows whether it is stored.
    Report(Vec<Report>),
    /// Somebody knows of them; changes those that are open. Answers how many.
    Acknowledge {
        /// Which.
        which: Which,
        /// Who.
        actor: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// The operator is told of them: all of this is done, or where one has changed meanwhile, or a message is there under its
    /// key, nothing. Answers how many alerts.
    Tell {
        /// How they stand after it.
        alerts: Vec<Told>,
        /// The messages.
        messages: Vec<NewTask>,
    },
    /// The messages about these arrived, then. Answers how many were not known to have.
    Delivered(Vec<(i64, DateTime<Utc>)>),
}

/// How an alert stands after the operator was told of it, or after a look at it.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which.
    pub id: i64,
    /// As it was read.
    pub revision: i64,
    /// As it was read: what came meanwhile is looked at soon.
    pub count: u32,
    /// What the operator was told.
    pub told: Value,
    /// The message that tells of it, where there is one.
    pub message: Option<TaskId>,
    /// When it is to be looked at next; none: when something happens.
    pub due: Option<DateTime<Utc>>,
    /// It goes wrong again: who knew of it knows of the last time.
    pub anew: bool,
    /// It is over by itself, since then.
    pub closed: Option<DateTime<Utc>>,
}
