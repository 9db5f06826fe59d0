//! What Telegram leaves in `task_queue`: the one durable primitive carries what is owed to people as well.
//!
//! | queue | kind | what | session |
//! |---|---|---|---|
//! | an agent's | message | what somebody said | `telegram:<chat>` |
//! | `telegram-replies` | owed | an answer that is owed: its task waits for the agent's to end | the same; of a late one `telegram:<chat>:<agent>` |
//! | `telegram` | send | a message to be sent | the same; of an alert `telegram-alerts:<chat>:<alert>`; none once Telegram fails at it and others pass |
//! | `telegram` | direct | a command for the daemon | `direct:<chat>`: waits for no agent |
//! | `telegram-files` | file | a message with a file, or after one: the file is fetched first | `telegram:<chat>` |

use chrono::{DateTime, Utc};
use openclaw_agent_api::AgentName;
use serde::{Deserialize, Serialize};
use store::task::{NewTask, TaskId};

use super::direct::Direct;
use super::text;
use super::update::{Inbound, Place};

/// Tries are bounded by their age instead: Telegram may be away for days.
const TRIES: u32 = 1_000_000;
/// The most messages that one reply becomes.
const PARTS: usize = 10;

/// A queue of Telegram's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Answers that are owed.
    Replies,
    /// What is to be sent or done.
    Out,
    /// What waits for its files.
    Files,
}

impl Queue {
    /// Whether a queue of that name is one of them.
    pub fn is(name: &str) -> bool {
        [Self::Replies, Self::Out, Self::Files].iter().any(|queue| queue.name().as_str() == name)
    }

    /// Its name.
    pub fn name(self) -> AgentName {
        let name = match self {
            Self::Replies => "telegram-replies",
            Self::Out => "telegram",
            Self::Files => "telegram-files",
        };
        #[allow(clippy::expect_used, reason = "a constant that is a name")]
        name.parse().expect("a name")
    }
}

/// What a row holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Job {
    /// An answer that is owed.
    Owed {
        /// The agent's task.
        task: TaskId,
        /// Whose it is.
        agent: AgentName,
        /// Where the answer goes.
        place: Place,
        /// It was long in coming: what is answered after it does not wait for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        late: bool,
    },
    /// A message to be sent.
    Send {
        /// Where it goes.
        place: Place,
        /// As it is seen.
        text: String,
        /// With its entities, where it has any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        html: Option<String>,
        /// It stood in the way of those after it, and is tried beside them; since when.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<DateTime<Utc>>,
    },
    /// A command for the daemon.
    Direct {
        /// What.
        direct: Direct,
        /// Where the answer goes.
        place: Place,
        /// Whose it is.
        sender: super::update::Person,
    },
    /// A message whose files are fetched first.
    File {
        /// The message.
        inbound: Inbound,
    },
}

impl Job {
    fn kind(&self) -> (&'static str, Queue) {
        match self {
            Self::Owed { .. } => ("owed", Queue::Replies),
            Self::Send { .. } => ("send", Queue::Out),
            Self::Direct { .. } => ("direct", Queue::Out),
            Self::File { .. } => ("file", Queue::Files),
        }
    }

    fn session(&self) -> Option<String> {
        Some(match self {
            Self::Send { since: Some(_), .. } => return None,
            Self::Owed { place, agent, late: true, .. } => format!("{}:{agent}", place.session()),
            Self::Owed { place, .. } | Self::Send { place, .. } => place.session(),
            Self::Direct { place, .. } => format!("direct:{}", place.chat),
            Self::File { inbound } => inbound.place.session(),
        })
    }

    /// Its row; with `key`, a second one with the same key is the first.
    pub fn task(&self, key: Option<String>, source: String) -> NewTask {
        let (kind, queue) = self.kind();
        NewTask {
            id: TaskId::new(),
            queue: queue.name(),
            kind: kind.into(),
            // Texts and numbers under names that are texts: always JSON.
            payload: serde_json::to_string(self).unwrap_or_default(),
            session: self.session(),
            dedupe_key: key,
            priority: 0,
            max_attempts: TRIES,
            run_at: None,
            source,
        }
    }
}

/// A text as the messages that it takes, in their order.
pub fn messages(place: &Place, text: &[text::Span]) -> Vec<Job> {
    let mut parts = text::split(text, text::LONGEST);
    // Telegram refuses what is blank.
    parts.retain(|part| !text::plain(part).trim().is_empty());
    let cut = parts.len() > PARTS;
    parts.truncate(PARTS);
    let mut jobs: Vec<Job> = parts
        .iter()
        .map(|part| {
            let (text, html) = (text::plain(part), text::html(part));
            let html = (html != text).then_some(html);
            Job::Send { place: place.clone(), text, html, since: None }
        })
        .collect();
    let note = match (cut, jobs.is_empty()) {
        (true, _) => "… the rest is not sent: it is too long. `openclaw tasks show` has all of it.",
        (_, true) => "(an answer without a text)",
        _ => return jobs,
    };
    jobs.push(Job::Send { place: place.clone(), text: note.into(), html: None, since: None });
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_reads_as_it_is_written() {
        let place = Place { chat: -5, thread: Some(1), reply_to: None };
        let job = Job::Send { place, text: "a".into(), html: Some("<b>a</b>".into()), since: None };
        let task = job.task(Some("k".into()), "telegram:1".into());
        assert_eq!((task.queue.as_str(), task.kind.as_str()), ("telegram", "send"));
        assert_eq!(task.session.as_deref(), Some("telegram:-5"));
        assert_eq!(serde_json::from_str::<Job>(&task.payload).unwrap(), job);
    }

    #[test]
    fn a_reply_is_never_blank_and_never_endless() {
        let place = Place::chat(1);
        let texts = |text: &str| -> Vec<String> {
            let send = |job| match job {
                Job::Send { text, .. } => text,
                job => format!("{job:?}"),
            };
            messages(&place, &text::read(text)).into_iter().map(send).collect()
        };
        assert_eq!(texts(" \n "), ["(an answer without a text)"]);
        assert_eq!(texts("hello"), ["hello"]);
        let long = texts(&"word ".repeat(100_000));
        assert!(long.len() == PARTS + 1 && long[PARTS].contains("too long"));
    }
}
