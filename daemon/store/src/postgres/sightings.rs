//! Leads that others have, as this process sees them.
//!
//! The server's clock may be set, so it says nothing of how old a lead is. Each time a lead is renewed its row changes; who
//! has seen it unmoved for as long as it lasts, by its own timers, knows that it has run out. Nobody could renew it while
//! the server was down, so a server that was started since counts as a movement as well. This is how Kubernetes' leases are
//! judged: <https://pkg.go.dev/k8s.io/client-go/tools/leaderelection>.

use std::collections::HashMap;
use std::time::Duration;

use openclaw_agent_api::AgentName;
use tokio::time::Instant;

/// Of the names that this process has asked for.
#[derive(Default)]
pub(super) struct Sightings(HashMap<AgentName, Sighting>);

struct Sighting {
    /// Its row and the server's start, as text that nobody reads.
    mark: String,
    unmoved_since: Instant,
    lasts: Duration,
}

impl Sightings {
    /// What an answer says that came now; in how long the lead has run out, unless it moves before.
    pub fn saw(&mut self, agent: &AgentName, mark: String, lasts: Duration, now: Instant) -> Duration {
        let new = Sighting { mark, unmoved_since: now, lasts };
        let sighting = match self.0.remove(agent) {
            Some(known) if known.mark == new.mark => Sighting { lasts, ..known },
            _ => new,
        };
        let left = sighting.left(now);
        self.0.insert(agent.clone(), sighting);
        left
    }

    /// The mark of a lead that has run out, unless it has moved since.
    pub fn run_out(&self, agent: &AgentName, now: Instant) -> Option<&str> {
        self.0.get(agent).filter(|seen| seen.left(now).is_zero()).map(|seen| seen.mark.as_str())
    }

    /// It is no other's any more.
    pub fn forget(&mut self, agent: &AgentName) {
        self.0.remove(agent);
    }
}

impl Sighting {
    fn left(&self, now: Instant) -> Duration {
        self.lasts.saturating_sub(now - self.unmoved_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: Duration = Duration::from_secs(10);

    #[test]
    fn a_lead_runs_out_when_it_was_seen_unmoved_for_as_long_as_it_lasts() {
        let (mut sightings, agent, began) = (Sightings::default(), "atlas".parse().unwrap(), Instant::now());
        let at = |secs| began + Duration::from_secs(secs);
        let mut saw = |mark: &str, secs| sightings.saw(&agent, mark.into(), LASTS, at(secs)).as_secs();
        assert_eq!((saw("1", 0), saw("1", 4)), (10, 6));
        // Renewed, or the server is another life's: from now on.
        assert_eq!((saw("2", 8), saw("2", 17)), (10, 1));
        assert_eq!(sightings.run_out(&agent, at(17)), None);
        assert_eq!(sightings.run_out(&agent, at(18)), Some("2"));
        sightings.forget(&agent);
        assert_eq!(sightings.run_out(&agent, at(99)), None);
    }

    #[test]
    fn how_long_it_lasts_is_what_its_leader_says() {
        let (mut sightings, agent, now) = (Sightings::default(), "atlas".parse().unwrap(), Instant::now());
        sightings.saw(&agent, "1".into(), LASTS, now);
        assert_eq!(sightings.saw(&agent, "1".into(), 3 * LASTS, now), 3 * LASTS);
        assert_eq!(sightings.run_out(&agent, now + LASTS), None);
    }
}
