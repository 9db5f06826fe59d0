//! How often an agent may ask the daemon for each thing: `notify = "20/1h"`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::units;

/// So many in such a time, and as many at once: `"12/1h"`, `"10000/1s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one, and a million a second at the most.
    pub times: u32,
    /// In how long; a millisecond to a year.
    pub per: Duration,
}

/// The longest time over which a rate is counted.
const LONGEST: Duration = Duration::from_secs(31_557_600);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.times, units::text(self.per))
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            let shown = text.escape_debug();
            format!("`{shown}` is no rate; write how many in which time: \"12/1h\", \"60/1m\" or \"100/1s\"")
        };
        let (times, per) = text.split_once('/').ok_or_else(bad)?;
        let times: u32 = times.trim().parse().map_err(|_| bad())?;
        let per = humantime::parse_duration(per.trim()).map_err(|_| bad())?;
        let fits = times > 0
            && (Duration::from_millis(1)..=LONGEST).contains(&per)
            && per / times >= Duration::from_micros(1);
        fits.then_some(Self { times, per }).ok_or_else(bad)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["12/1h", "60/1m", "100/1s"]})
    }
}

/// By what is asked for: a method (`supervisor.restart`), or the first part of one (`supervisor`) for all methods of it
/// together that have none of their own. What is written goes before the defaults, key by key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "BTreeMap<String, Rate>")]
#[schemars(with = "BTreeMap<String, Rate>")]
pub struct Rates(BTreeMap<String, Rate>);

/// Of what nothing is said about.
const ELSE: Rate = Rate { times: 60, per: Duration::from_secs(60) };

impl Default for Rates {
    fn default() -> Self {
        const SECOND: u64 = 1;
        const MINUTE: u64 = 60;
        const HOUR: u64 = 3600;
        let defaults = [
            // Several for each message that the queue carries at its best: an agent at full speed is not slowed, one that is a loop is.
            ("memory", 100_000, SECOND),
            ("task.submit", 100_000, SECOND),
            // What a listener holds that is slow for a second.
            ("publish", 1000, SECOND),
            // Each waits for another agent, or reads the queue.
            ("task", 600, MINUTE),
            // One a second: more is a loop.
            ("ask", 60, MINUTE),
            ("search", 60, MINUTE),
            ("fetch", 60, MINUTE),
            ("missions", 60, MINUTE),
            // A person decides on each.
            ("missions.propose", 60, HOUR),
            // Many times what a look each second needs.
            ("supervisor", 300, MINUTE),
            ("system", 300, MINUTE),
            ("alert", 300, MINUTE),
            // What so many have not mended, another will not.
            ("supervisor.restart", 12, HOUR),
            ("system.restart", 6, HOUR),
            ("breaker", 12, HOUR),
            // A phone that rings more often is not looked at.
            ("notify", 20, HOUR),
        ];
        let rate = |(what, times, per): (&str, u32, u64)| {
            (what.into(), Rate { times, per: Duration::from_secs(per) })
        };
        Self(defaults.map(rate).into())
    }
}

impl From<BTreeMap<String, Rate>> for Rates {
    fn from(written: BTreeMap<String, Rate>) -> Self {
        Self::default().with(&written)
    }
}

impl Rates {
    /// These, with others before them.
    #[must_use]
    pub fn with(mut self, own: &BTreeMap<String, Rate>) -> Self {
        self.0.extend(own.iter().map(|(what, rate)| (what.clone(), *rate)));
        self
    }

    /// The rate of a method, and whose it is: the method's own, or that of all that begin as it does.
    pub fn of<'a>(&'a self, method: &'a str) -> (&'a str, Rate) {
        let first = method.split_once('.').map_or(method, |(first, _)| first);
        let found = [method, first].into_iter().find_map(|what| self.0.get_key_value(what));
        found.map_or((method, ELSE), |(what, rate)| (what, *rate))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Rate)> {
        self.0.iter().map(|(what, rate)| (what.as_str(), *rate))
    }
}

#[cfg(test)]
mod tests {
    use openclaw_agent_api::abi::methods;

    use super::*;

    #[test]
    fn every_method_has_a_rate_and_its_own_goes_first() {
        let rates = Rates::default();
        for method in methods::GRANTED {
            let (what, _) = rates.of(method);
            assert!(rates.0.contains_key(what), "{method}");
        }
        assert_eq!(rates.of("supervisor.restart").1.to_string(), "12/1h");
        assert_eq!(rates.of("supervisor.status"), ("supervisor", "300/1m".parse().unwrap()));
        assert_eq!(rates.of("no.such"), ("no.such", ELSE));
        let own = rates.clone().with(&BTreeMap::from([("memory.get".into(), "1/1day".parse().unwrap())]));
        assert_eq!(own.of("memory.get").1.times, 1);
        assert_eq!(own.of("memory.set"), rates.of("memory.set"));
    }

    #[test]
    fn what_is_no_rate_says_so() {
        for text in [
            "",
            "12",
            "12/",
            "/1h",
            "0/1h",
            "1000001/1s",
            "-1/1h",
            "12/1",
            "12/0s",
            "12/2years",
            "12/1h/1h",
            "1e3/1s",
        ] {
            assert!(text.parse::<Rate>().unwrap_err().contains("is no rate"), "{text}");
        }
        assert_eq!("12 / 60m".parse::<Rate>().unwrap().to_string(), "12/1h");
    }
}
