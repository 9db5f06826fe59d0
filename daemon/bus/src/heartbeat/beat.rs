//! The fields of `agent:<name>:status`.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use crate::Fields;

/// The longest text of a field, in bytes.
const LONGEST: usize = 256;

/// Words that a field can be.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$of])* $word,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$word,)+];

            /// As it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }
        }

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or(())
            }
        }
    };
}

words! {
    /// What is proved of an agent.
    Status {
        /// It does its work.
        Ok = "ok",
        /// It works, not well.
        Degraded = "degraded",
        /// It does not work.
        Failed = "failed",
        /// Nothing is proved.
        Unknown = "unknown",
    }
}

words! {
    /// Where an agent's life is.
    State {
        /// Not running, as somebody wanted.
        Stopped = "stopped",
        /// Its host is on the way up.
        Starting = "starting",
        /// It takes work.
        Ready = "ready",
        /// Waiting for its next start.
        Backoff = "backoff",
        /// Its breaker is open.
        Open = "open",
        /// One start is tried.
        HalfOpen = "half_open",
        /// Ending its work.
        Draining = "draining",
        /// Its library or settings are not accepted.
        Refused = "refused",
    }
}

words! {
    /// An agent's breaker.
    Breaker {
        /// Work passes.
        Closed = "closed",
        /// Work waits.
        Open = "open",
        /// One is tried.
        HalfOpen = "half_open",
    }
}

/// What a supervisor shows of an agent at each beat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// What is proved of it.
    pub status: Status,
    /// Where its life is.
    pub state: State,
    /// Its host's process.
    pub pid: Option<u32>,
    /// Its version.
    pub version: Option<String>,
    /// Its library, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// The systemd unit that it runs in.
    pub unit: Option<String>,
    /// The machine.
    pub host: String,
    /// When its host was started.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was there last: its host's proof still held; or, while it has none, its supervisor looked after it.
    pub last_seen: DateTime<Utc>,
    /// How long its host runs.
    pub uptime_seconds: Option<u64>,
    /// Successors started so far.
    pub restarts: u64,
    /// Its breaker.
    pub breaker: Breaker,
    /// The oldest task in work.
    pub current_task: Option<Uuid>,
    /// Since when that is in work.
    pub current_since: Option<DateTime<Utc>>,
    /// When its host answered a ping last.
    pub last_pong: Option<DateTime<Utc>>,
    /// When it finished a task last.
    pub last_done: Option<DateTime<Utc>>,
}

/// A hash that is no beat.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the field `{field}` is {}; an agent's status is written by OpenClaw alone", what(.text))]
pub struct BadBeat {
    /// The field.
    pub field: &'static str,
    /// What stands there; none when it is missing.
    pub text: Option<String>,
}

fn what(text: &Option<String>) -> String {
    match text {
        Some(text) => format!("`{}`", text.chars().take(60).collect::<String>().escape_debug()),
        None => "missing".into(),
    }
}

impl Beat {
    /// The fields, all of them: one that says nothing is empty.
    pub fn to_fields(&self) -> Fields {
        fn text(value: Option<impl ToString>) -> String {
            value.map(|value| value.to_string()).unwrap_or_default()
        }
        let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let fields = [
            ("status", self.status.as_str().into()),
            ("state", self.state.as_str().into()),
            ("pid", text(self.pid)),
            ("version", text(self.version.as_ref())),
            ("sha256", text(self.sha256.as_ref())),
            ("unit", text(self.unit.as_ref())),
            ("host", self.host.clone()),
            ("started_at", text(self.started_at.map(time))),
            ("last_seen", time(self.last_seen)),
            ("uptime_seconds", text(self.uptime_seconds)),
            ("restarts", self.restarts.to_string()),
            ("breaker", self.breaker.as_str().into()),
            ("current_task", text(self.current_task)),
            ("current_since", text(self.current_since.map(time))),
            ("last_pong", text(self.last_pong.map(time))),
            ("last_done", text(self.last_done.map(time))),
        ];
        fields.map(|(name, text)| (name.to_owned(), text)).into()
    }

    /// The beat that `fields` say. Fields that are not known here are another version's, and left alone; a missing
    /// one that may be empty is empty.
    ///
    /// # Errors
    /// A field that has to be there is missing, or one says what it cannot say.
    pub fn from_fields(fields: &Fields) -> Result<Self, BadBeat> {
        let fields = Reader(fields);
        Ok(Self {
            status: fields.must("status", |text| text.parse().ok())?,
            state: fields.must("state", |text| text.parse().ok())?,
            pid: fields.may("pid", |text| number(text).filter(|pid| *pid != 0))?,
            version: fields.may("version", words)?,
            sha256: fields.may("sha256", hash)?,
            unit: fields.may("unit", words)?,
            host: fields.must("host", words)?,
            started_at: fields.may("started_at", time)?,
            last_seen: fields.must("last_seen", time)?,
            uptime_seconds: fields.may("uptime_seconds", number)?,
            restarts: fields.must("restarts", number)?,
            breaker: fields.must("breaker", |text| text.parse().ok())?,
            current_task: fields.may("current_task", |text| text.parse().ok())?,
            current_since: fields.may("current_since", time)?,
            last_pong: fields.may("last_pong", time)?,
            last_done: fields.may("last_done", time)?,
        })
    }
}

struct Reader<'a>(&'a Fields);

impl Reader<'_> {
    fn may<T>(&self, field: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, BadBeat> {
        let text = self.0.get(field).filter(|text| !text.is_empty());
        text.map(|text| read(text).ok_or_else(|| BadBeat { field, text: Some(text.clone()) })).transpose()
    }

    fn must<T>(&self, field: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<T, BadBeat> {
        self.may(field, read)?.ok_or(BadBeat { field, text: None })
    }
}

/// Digits only: `+1` is another's way to write.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn words(text: &str) -> Option<String> {
    (text.len() <= LONGEST && !text.contains(char::is_control)).then(|| text.to_owned())
}

fn hash(text: &str) -> Option<String> {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (text.len() == 64 && text.bytes().all(digit)).then(|| text.to_owned())
}

fn time(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::option;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn at() -> impl Strategy<Value = DateTime<Utc>> {
        (0i64..4_000_000_000_000_000).prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap())
    }

    prop_compose! {
        fn beat()(
            status in select(Status::ALL), state in select(State::ALL), breaker in select(Breaker::ALL),
            pid in option::of(1u32..), version in option::of("[!-~]{1,20}"), sha256 in option::of("[0-9a-f]{64}"),
            unit in option::of("[a-z.@-]{1,20}"), host in "[a-z0-9.-]{1,20}", last_seen in at(),
            started in option::of((at(), any::<u64>(), any::<u128>())), restarts in any::<u64>(),
            current_since in option::of(at()), last_pong in option::of(at()), last_done in option::of(at()),
        ) -> Beat {
            Beat {
                status, state, pid, version, sha256, unit, host, last_seen, restarts, breaker,
                current_since, last_pong, last_done,
                started_at: started.map(|(at, _, _)| at),
                uptime_seconds: started.map(|(_, uptime, _)| uptime),
                current_task: started.map(|(_, _, task)| Uuid::from_u128(task)),
            }
        }
    }

    const FIELDS: [&str; 16] = [
        "breaker",
        "current_since",
        "current_task",
        "host",
        "last_done",
        "last_pong",
        "last_seen",
        "pid",
        "restarts",
        "sha256",
        "started_at",
        "state",
        "status",
        "unit",
        "uptime_seconds",
        "version",
    ];

    proptest! {
        #[test]
        fn a_beat_is_read_as_it_was_written_whatever_stands_beside_it(beat in beat(), other in "[a-z]{20,30}") {
            let mut fields = beat.to_fields();
            prop_assert!(fields.keys().eq(FIELDS.iter()));
            prop_assert_eq!(Beat::from_fields(&fields), Ok(beat.clone()));
            fields.insert(other.clone(), other);
            prop_assert_eq!(Beat::from_fields(&fields), Ok(beat));
        }

        #[test]
        fn no_hash_brings_it_down(
            beat in beat(), field in select(&FIELDS[..]), text in "\\PC{0,8}|[0-9a-fTZ:.-]{0,70}",
        ) {
            let mut fields = beat.to_fields();
            fields.insert(field.into(), text);
            if let Ok(beat) = Beat::from_fields(&fields) {
                prop_assert_eq!(Beat::from_fields(&beat.to_fields()), Ok(beat));
            }
        }
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        let beat = Beat {
            status: Status::Ok,
            state: State::Ready,
            pid: Some(7),
            version: None,
            sha256: None,
            unit: None,
            host: "here".into(),
            started_at: None,
            last_seen: DateTime::UNIX_EPOCH,
            uptime_seconds: None,
            restarts: 0,
            breaker: Breaker::Closed,
            current_task: None,
            current_since: None,
            last_pong: None,
            last_done: None,
        };
        let fields = beat.to_fields();
        assert_eq!(fields["last_seen"], "1970-01-01T00:00:00.000000Z");
        for (field, text) in [
            ("status", "green"),
            ("state", "Ready"),
            ("pid", "0"),
            ("pid", "-1"),
            ("pid", "4294967296"),
            ("sha256", "abc"),
            ("host", ""),
            ("host", "a\nb"),
            ("version", &"x".repeat(LONGEST + 1)),
            ("started_at", "yesterday"),
            ("last_seen", ""),
            ("uptime_seconds", "1.5"),
            ("restarts", "+1"),
            ("breaker", "ajar"),
            ("current_task", "7"),
        ] {
            let mut wrong = fields.clone();
            wrong.insert(field.into(), text.into());
            let told = Beat::from_fields(&wrong).unwrap_err();
            assert_eq!(told.field, field, "{text}");
            assert!(told.to_string().len() < 200, "{told}");
        }
        assert_eq!(Beat::from_fields(&Fields::new()).unwrap_err().text, None);
    }
}
