//! How often one agent may ask for each thing: a bucket for each rate that is configured.

use std::collections::HashMap;
use std::fmt;

use settings::Rate;

use crate::{Bucket, Time};

/// What is left of each rate. A bucket is made, full, when something is first asked for.
#[derive(Clone, Debug)]
pub struct Rates {
    configured: settings::Rates,
    buckets: HashMap<String, Bucket>,
}

/// More was asked for than the rate allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Whose rate: a method, or the first part of several.
    pub what: String,
    /// Which.
    pub rate: Rate,
    /// When it can be asked for again; never, where so many are not allowed at once.
    pub until: Option<Time>,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, rate, .. } = self;
        write!(f, "`{what}` is allowed {rate} and no more")
    }
}

impl Rates {
    /// All of them full.
    pub fn new(configured: settings::Rates) -> Self {
        Self { configured, buckets: HashMap::new() }
    }

    /// Takes so many of a method, or none.
    ///
    /// # Errors
    /// That is too much for now.
    pub fn take(&mut self, method: &str, times: u32, now: Time) -> Result<(), Exceeded> {
        let (what, rate) = self.configured.of(method);
        let taken = match self.buckets.get_mut(what) {
            Some(bucket) => bucket.take_all(times, now),
            None => {
                let bucket = Bucket::new(rate.times, rate.per / rate.times.max(1), now);
                self.buckets.entry(what.into()).or_insert(bucket).take_all(times, now)
            }
        };
        taken.map_err(|until| Exceeded { what: what.into(), rate, until })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn rates(text: &str) -> Rates {
        let own = text.parse::<Rate>().unwrap();
        Rates::new(settings::Rates::default().with(&[("memory".into(), own), ("task".into(), own)].into()))
    }

    #[test]
    fn methods_share_the_rate_of_their_first_part_and_no_other() {
        let (mut rates, now) = (rates("2/1h"), Time::UNIX_EPOCH);
        assert_eq!(rates.take("memory.get", 1, now), Ok(()));
        assert_eq!(rates.take("memory.set", 1, now), Ok(()));
        let exceeded = rates.take("memory.get", 1, now).unwrap_err();
        assert_eq!(exceeded.until, Some(now + Duration::from_secs(1800)));
        assert_eq!(exceeded.to_string(), "`memory` is allowed 2/1h and no more");
        assert_eq!(rates.take("task.run", 1, now), Ok(()));
        assert_eq!(rates.take("task.submit", 100, now), Ok(()), "that has one of its own");
        assert_eq!(rates.take("memory.get", 1, now + Duration::from_secs(1800)), Ok(()));
        // What never fits has no time.
        assert_eq!(rates.take("memory.get", 3, now + Duration::from_secs(9999)).unwrap_err().until, None);
        assert_eq!(rates.take("memory.get", 2, now + Duration::from_secs(9999)), Ok(()));
    }

    proptest! {
        /// Whatever is asked for when: in no stretch of time is more taken than what is there at once and what comes in it, and
        /// who comes when it was told to gets it.
        #[test]
        fn no_more_than_the_rate(steps in prop::collection::vec((0u64..3_000, 1u32..4), 1..80)) {
            let (mut rates, mut now, mut taken) = (rates("5/5s"), Time::UNIX_EPOCH, Vec::new());
            for (millis, times) in steps {
                now += Duration::from_millis(millis);
                match rates.take("memory.get", times, now) {
                    Ok(()) => taken.extend((0..times).map(|_| now)),
                    Err(exceeded) => {
                        let until = exceeded.until.unwrap();
                        prop_assert!(until > now);
                        prop_assert_eq!(rates.clone().take("memory.get", times, until), Ok(()));
                    }
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = 5 + (*to - *from).num_seconds() + 1;
                    prop_assert!((last - first + 1) as i64 <= most);
                }
            }
        }
    }
}
