//! Whether work that is left here now is done: what `/readyz` says. Pure.
//!
//! | part | ok | degraded | failed | unknown |
//! |---|---|---|---|---|
//! | store | ready | not ready | not ready | not ready: what cannot be shown to be durable is not accepted |
//! | agent | ready | not ready: on its way, or down | not ready | neither: it is not meant to run, or only silent |
//! | bus | ready | ready, with a note: nothing is lost without it, it is only slower | so too | neither |
//! | another service | ready | ready, with a note | not ready | neither |

use chrono::{DateTime, Utc};
use serde::Serialize;
use supervisor::Health;

use crate::whole::{Part, PartKind};

/// What follows from all parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Readiness {
    /// Whether nothing fails.
    #[serde(skip)]
    pub ready: bool,
    /// What does.
    pub failing: Vec<String>,
    /// What is neither ready nor failing.
    pub unknown: Vec<String>,
    /// Each part.
    pub checks: Vec<Check>,
}

/// One part, and why it is judged so.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Which.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// What follows from its evidence.
    pub health: Health,
    /// Why.
    pub reason: String,
    /// What it last proved.
    pub evidence: String,
    /// When.
    pub at: Option<DateTime<Utc>>,
    /// How long ago.
    pub age_seconds: Option<f64>,
}

enum Verdict {
    Ready,
    Failing,
    Neither,
}

fn verdict(kind: PartKind, health: Health) -> Verdict {
    use PartKind::{Agent, Bus, Service, Store};
    match (kind, health) {
        (_, Health::Ok) => Verdict::Ready,
        (Store, _) | (Agent, Health::Degraded | Health::Failed) | (Service, Health::Failed) => {
            Verdict::Failing
        }
        (Bus, Health::Degraded | Health::Failed) | (Service, Health::Degraded) => Verdict::Ready,
        (Agent | Bus | Service, Health::Unknown) => Verdict::Neither,
    }
}

/// Judges.
pub fn judge(parts: Vec<Part>, now: DateTime<Utc>) -> Readiness {
    let mut judged = Readiness { ready: true, failing: Vec::new(), unknown: Vec::new(), checks: Vec::new() };
    for part in parts {
        match verdict(part.kind, part.health) {
            Verdict::Ready => {}
            Verdict::Failing => judged.failing.push(part.name.clone()),
            Verdict::Neither => judged.unknown.push(part.name.clone()),
        }
        judged.checks.push(Check {
            age_seconds: part.at.map(|at| (now - at).to_std().unwrap_or_default().as_secs_f64()),
            name: part.name,
            kind: part.kind,
            health: part.health,
            reason: part.reason,
            evidence: part.evidence,
            at: part.at,
        });
    }
    judged.ready = judged.failing.is_empty();
    judged
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    const HEALTH: [Health; 4] = [Health::Ok, Health::Degraded, Health::Failed, Health::Unknown];
    const KINDS: [PartKind; 4] = [PartKind::Store, PartKind::Bus, PartKind::Service, PartKind::Agent];

    fn part(kind: PartKind, health: Health, at: Option<DateTime<Utc>>) -> Part {
        let (reason, evidence) = ("so".into(), "that".into());
        Part { name: format!("{kind:?}"), kind, health, reason, evidence, at }
    }

    #[test]
    fn the_table_is_true() {
        let now = DateTime::UNIX_EPOCH;
        let row = |kind| {
            HEALTH.map(|health| {
                let judged = judge(vec![part(kind, health, None)], now);
                match (judged.ready, judged.unknown.is_empty()) {
                    (true, true) => "ready",
                    (true, false) => "neither",
                    (false, _) => "not ready",
                }
            })
        };
        assert_eq!(row(PartKind::Store), ["ready", "not ready", "not ready", "not ready"]);
        assert_eq!(row(PartKind::Agent), ["ready", "not ready", "not ready", "neither"]);
        assert_eq!(row(PartKind::Bus), ["ready", "ready", "ready", "neither"]);
        assert_eq!(row(PartKind::Service), ["ready", "ready", "not ready", "neither"]);
    }

    #[test]
    fn an_age_is_told_and_never_negative() {
        let now = DateTime::UNIX_EPOCH;
        for (ago, age) in [(1500, 1.5), (0, 0.0), (-1500, 0.0)] {
            let at = Some(now - TimeDelta::milliseconds(ago));
            let judged = judge(vec![part(PartKind::Store, Health::Ok, at)], now);
            assert_eq!(judged.checks[0].age_seconds, Some(age));
        }
    }

    proptest! {
        #[test]
        fn ready_means_that_nothing_fails_and_every_part_is_told(
            parts in prop::collection::vec((0..4_usize, 0..4_usize), 0..12),
        ) {
            let parts: Vec<_> = parts.iter().map(|(k, h)| part(KINDS[*k], HEALTH[*h], None)).collect();
            let judged = judge(parts.clone(), DateTime::UNIX_EPOCH);
            prop_assert_eq!(judged.checks.len(), parts.len());
            prop_assert_eq!(judged.ready, judged.failing.is_empty());
            // A part more can only take readiness away.
            let fewer = judge(parts.into_iter().skip(1).collect(), DateTime::UNIX_EPOCH);
            prop_assert!(fewer.ready || !judged.ready);
        }
    }
}
