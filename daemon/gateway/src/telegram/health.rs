//! What the bot last proved.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use settings::TelegramMode;

use super::api::Failure;

/// How it fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It hears what is said.
    Ok,
    /// It tries again by itself.
    Degraded,
    /// Somebody must do something.
    Failed,
    /// Nothing is proved yet, or not lately.
    Unknown,
}

/// What it last proved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// How updates come.
    pub mode: TelegramMode,
    /// The bot's name, once Telegram has told it.
    pub bot: Option<String>,
    /// When Telegram last answered a poll to its end, or, with a webhook, said that it delivers.
    pub completed_at: Option<DateTime<Utc>>,
    /// When something last came.
    pub received_at: Option<DateTime<Utc>>,
    /// When something was last sent.
    pub sent_at: Option<DateTime<Utc>>,
    /// Until when Telegram asked to wait with what was to be sent to a chat, the latest.
    #[serde(default)]
    pub waits_until: Option<DateTime<Utc>>,
    /// What failed since then, and whether a person must mend it.
    pub trouble: Option<(String, bool)>,
    /// Since when it is as it is.
    pub since: DateTime<Utc>,
}

impl Health {
    /// Nothing is known.
    pub fn new(mode: TelegramMode, now: DateTime<Utc>) -> Self {
        Self {
            mode,
            bot: None,
            completed_at: None,
            received_at: None,
            sent_at: None,
            waits_until: None,
            trouble: None,
            since: now,
        }
    }

    /// A poll was answered to its end.
    pub fn completed(&mut self, now: DateTime<Utc>) {
        if self.completed_at.is_none() || self.trouble.take().is_some() {
            self.since = now;
        }
        self.completed_at = Some(now);
    }

    /// A poll was not.
    pub fn failed(&mut self, failure: &Failure, now: DateTime<Utc>) {
        let lasting = matches!(failure, Failure::Unauthorized | Failure::Conflict { .. });
        self.trouble(failure.to_string(), lasting, now);
    }

    /// Whether Telegram answers, as far as is known.
    pub fn listens(&self) -> bool {
        self.completed_at.is_some() && self.trouble.is_none()
    }

    /// Something is wrong.
    pub fn trouble(&mut self, what: String, lasting: bool, now: DateTime<Utc>) {
        if self.trouble.is_none() {
            self.since = now;
        }
        self.trouble = Some((what, lasting));
    }

    /// What follows, where a proof is good for `stale` seconds; and why.
    pub fn verdict(&self, now: DateTime<Utc>, stale: i64) -> (Verdict, String) {
        let old = |at: DateTime<Utc>| (now - at).num_seconds() > stale;
        match (&self.trouble, self.completed_at) {
            (Some((why, true)), _) => (Verdict::Failed, why.clone()),
            (Some((why, false)), _) => (Verdict::Degraded, format!("{why}; tried again by itself")),
            (None, Some(at)) if old(at) => {
                (Verdict::Unknown, "no poll was answered for longer than it should take".into())
            }
            (None, Some(_)) => match self.waits_until.filter(|until| *until > now) {
                Some(until) => {
                    let until = until.format("%F %T");
                    let why = format!(
                        "what is said to the bot is heard; Telegram asks to wait with sending to a chat until {until}"
                    );
                    (Verdict::Ok, why)
                }
                None => (Verdict::Ok, "what is said to the bot is heard".into()),
            },
            (None, None) => (Verdict::Unknown, "Telegram has not answered yet".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn only_a_completed_poll_is_a_proof_and_it_grows_old() {
        let start = DateTime::UNIX_EPOCH;
        let later = |secs| start + TimeDelta::seconds(secs);
        let mut health = Health::new(TelegramMode::Polling, start);
        assert_eq!(health.verdict(start, 60).0, Verdict::Unknown);
        health.completed(later(1));
        assert_eq!(health.verdict(later(61), 60).0, Verdict::Ok);
        assert_eq!(health.verdict(later(62), 60).0, Verdict::Unknown);
        health.failed(&Failure::Server { code: 502 }, later(63));
        assert_eq!((health.verdict(later(63), 60).0, health.since), (Verdict::Degraded, later(63)));
        health.failed(&Failure::Conflict { why: "other".into() }, later(64));
        let (verdict, why) = health.verdict(later(64), 60);
        assert!(
            verdict == Verdict::Failed && why.contains("another program") && why.contains("409"),
            "{why}"
        );
        health.completed(later(65));
        assert_eq!((health.verdict(later(65), 60).0, health.since), (Verdict::Ok, later(65)));
    }
}
