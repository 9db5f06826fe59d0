//! When there is something to tell of one library: pure, time is passed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::library::stamp::Stamp;

/// What was told of a library, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Settle {
    told: Option<Stamp>,
    gone: bool,
    /// A stamp, and since when it is the same.
    settling: Option<(Stamp, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Settled,
    Gone,
}

impl Settle {
    /// The library has this stamp now, and the vault has seen that one.
    pub fn look(
        &mut self,
        stamp: Option<Stamp>,
        seen: Option<&Stamp>,
        now: Instant,
        settle: Duration,
    ) -> Option<Told> {
        let Some(stamp) = stamp else {
            self.settling = None;
            let had = self.told.take().is_some() || seen.is_some();
            let news = had && !self.gone;
            self.gone |= had;
            return news.then_some(Told::Gone);
        };
        // What is back is told even if it is what it was.
        if !self.gone && (seen == Some(&stamp) || self.told.as_ref() == Some(&stamp)) {
            self.settling = None;
            return None;
        }
        match &self.settling {
            Some((same, since)) if *same == stamp => {
                if now < *since + settle {
                    return None;
                }
                *self = Self { told: Some(stamp), gone: false, settling: None };
                Some(Told::Settled)
            }
            _ => {
                self.settling = Some((stamp, now));
                None
            }
        }
    }

    /// When to look again.
    pub fn due(&self, settle: Duration) -> Option<Instant> {
        self.settling.as_ref().map(|(_, since)| *since + settle)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTLE: Duration = Duration::from_millis(100);

    /// Different stamps, without files.
    fn stamp(size: u64) -> Stamp {
        let file =
            serde_json::json!({"dev": 1, "inode": 1, "size": size, "modified": [0, 0], "changed": [0, 0]});
        serde_json::from_value(serde_json::json!({"library": file, "signatures": []})).unwrap()
    }

    #[test]
    fn what_stands_still_is_told_once() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        let mut look = |size: Option<u64>, seen: Option<u64>, at| {
            let at = start + Duration::from_millis(at);
            settle.look(size.map(stamp), seen.map(stamp).as_ref(), at, SETTLE)
        };
        assert_eq!(look(None, None, 0), None);
        assert_eq!(look(Some(1), None, 0), None);
        // It grows.
        assert_eq!(look(Some(2), None, 90), None);
        assert_eq!(look(Some(2), None, 189), None);
        assert_eq!(look(Some(2), None, 190), Some(Told::Settled));
        assert_eq!(look(Some(2), None, 500), None);
        assert_eq!(look(Some(2), Some(2), 600), None);
        // The vault saw it by other ways.
        assert_eq!(look(Some(3), Some(2), 700), None);
        assert_eq!(look(Some(3), Some(3), 900), None);
        assert_eq!(look(None, Some(3), 1000), Some(Told::Gone));
        assert_eq!(look(None, Some(3), 1100), None);
        assert_eq!(look(Some(3), Some(3), 1200), None);
        assert_eq!(look(Some(3), Some(3), 1300), Some(Told::Settled));
        assert_eq!(look(Some(3), Some(3), 1400), None);
    }

    proptest! {
        #[test]
        fn nothing_is_told_that_did_not_stand_still(sizes in prop::collection::vec((prop::option::of(0..3_u64), 1..150_u64), 1..40)) {
            let (mut settle, mut now) = (Settle::default(), Instant::now());
            let mut since: Option<(u64, Instant)> = None;
            let mut told = None;
            for (size, pause) in sizes {
                now += Duration::from_millis(pause);
                since = match (size, since) {
                    (Some(size), Some((same, since))) if size == same => Some((size, since)),
                    (size, _) => size.map(|size| (size, now)),
                };
                match settle.look(size.map(stamp), None, now, SETTLE) {
                    Some(Told::Settled) => {
                        let (size, since) = since.unwrap();
                        prop_assert!(now >= since + SETTLE && told != Some(size));
                        told = Some(size);
                    }
                    Some(Told::Gone) => {
                        prop_assert!(size.is_none() && told.is_some());
                        told = None;
                    }
                    None => prop_assert!(settle.due(SETTLE).is_some() || size == told || size.is_none()),
                }
            }
        }
    }
}
