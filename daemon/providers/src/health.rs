//! What a provider last proved: that it is reached, that it knows our key, that it does its work. Three things, since a
//! server that answers 401 is reached, and one that answers with nothing is no use.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::Time;
use crate::policy::Trouble;
use crate::probe::Seen;

/// What worked within that time works: a call that is refused is wrong itself.
const LATELY: TimeDelta = TimeDelta::hours(1);

/// One of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Whether it holds; none: nothing has shown it.
    pub holds: Option<bool>,
    /// When that was shown last.
    pub at: Option<Time>,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Proof {
    fn shown(&mut self, now: Time) {
        *self = Self { holds: Some(true), at: Some(now), why: None };
    }

    fn refuted(&mut self, why: &Trouble, now: Time) {
        *self = Self { holds: Some(false), at: Some(now), why: Some(why.to_string()) };
    }
}

/// All three, by the last call that says something of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// A server answers at its address.
    pub reachable: Proof,
    /// It knows our key.
    pub authenticated: Proof,
    /// It answers with what was asked for.
    pub functional: Proof,
    /// The last look at it, without a question, showed nothing wrong.
    #[serde(default)]
    pub look: Proof,
}

impl Health {
    /// It was looked at, without a question.
    pub(crate) fn see(&mut self, seen: &Seen, now: Time) {
        match seen {
            Seen::Trouble(trouble) => self.look.refuted(trouble, now),
            Seen::Reached | Seen::Known => self.look.shown(now),
        }
        match seen {
            Seen::Reached => self.reachable.shown(now),
            Seen::Known => {
                self.reachable.shown(now);
                self.authenticated.shown(now);
            }
            Seen::Trouble(trouble) => {
                let functional = self.functional.clone();
                self.learn(Some(trouble), now);
                // Nothing was asked of it; so nothing but its key can be wrong.
                self.functional = functional;
                if let Trouble::Status { code: 403, .. } = trouble {
                    self.authenticated.refuted(trouble, now);
                }
            }
        }
    }

    /// A call has ended.
    pub(crate) fn learn(&mut self, trouble: Option<&Trouble>, now: Time) {
        let Some(trouble) = trouble else {
            self.reachable.shown(now);
            self.authenticated.shown(now);
            self.functional.shown(now);
            return;
        };
        // Too long, or flagged for what it says: whoever may ask could else have it look broken to all.
        let of_the_call = matches!(trouble, Trouble::Status { code: 400 | 403 | 413 | 422, .. });
        let works =
            self.functional.holds == Some(true) && self.functional.at.is_some_and(|at| now - at < LATELY);
        if !(of_the_call && works) {
            self.functional.refuted(trouble, now);
        }
        match trouble {
            Trouble::Status { code, .. } => {
                self.reachable.shown(now);
                match code {
                    // 403 may be about what was said: of the key a look tells.
                    401 => self.authenticated.refuted(trouble, now),
                    // Whose account is empty, or whose call is wrong, is known.
                    402 | 404 | 422 => self.authenticated.shown(now),
                    _ => {}
                }
            }
            Trouble::Timeout(_) | Trouble::Network(_) | Trouble::Broken(_) => {
                self.reachable.refuted(trouble, now)
            }
            // Something answers; whether that is the provider, nobody knows.
            Trouble::Empty | Trouble::CutOff | Trouble::Unusable(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_says_nothing_of_whether_it_answers_questions() {
        let now = Time::UNIX_EPOCH;
        let mut health = Health::default();
        let holds =
            |health: &Health| [health.reachable.holds, health.authenticated.holds, health.functional.holds];
        health.see(&Seen::Reached, now);
        assert_eq!(holds(&health), [Some(true), None, None]);
        health.see(&Seen::Known, now);
        assert_eq!(holds(&health), [Some(true), Some(true), None]);
        health.see(&Seen::Trouble(Trouble::Status { code: 401, retry_after: None, why: String::new() }), now);
        assert_eq!(holds(&health), [Some(true), Some(false), None]);
        health.learn(None, now);
        health.see(&Seen::Trouble(Trouble::Network("refused".into())), now);
        assert_eq!(holds(&health), [Some(false), Some(true), Some(true)]);
    }

    #[test]
    fn the_three_are_told_apart() {
        let now = Time::UNIX_EPOCH;
        let status = |code| Some(Trouble::Status { code, retry_after: None, why: String::new() });
        let told = |trouble: Option<Trouble>| {
            let mut health = Health::default();
            health.learn(trouble.as_ref(), now);
            [health.reachable.holds, health.authenticated.holds, health.functional.holds]
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(told(None), [yes, yes, yes]);
        assert_eq!(told(status(401)), [yes, no, no]);
        assert_eq!(told(status(402)), [yes, yes, no]);
        assert_eq!(told(status(429)), [yes, None, no]);
        assert_eq!(told(status(503)), [yes, None, no]);
        assert_eq!(told(Some(Trouble::Network("refused".into()))), [no, None, no]);
        assert_eq!(told(Some(Trouble::Unusable("HTML".into()))), [None, None, no]);
    }

    #[test]
    fn what_was_said_and_is_refused_says_nothing_of_a_provider_that_works() {
        let now = Time::UNIX_EPOCH;
        let status = |code| Trouble::Status { code, retry_after: None, why: String::new() };
        let told = |code, later| {
            let mut health = Health::default();
            health.learn(None, now);
            health.learn(Some(&status(code)), now + later);
            [health.authenticated.holds, health.functional.holds]
        };
        let (yes, no) = (Some(true), Some(false));
        let (soon, late) = (TimeDelta::minutes(59), TimeDelta::minutes(61));
        for code in [400, 403, 413, 422] {
            assert_eq!(told(code, soon), [yes, yes], "{code}");
        }
        assert_eq!(told(401, soon), [no, no]);
        assert_eq!(told(404, soon), [yes, no]);
        assert_eq!((told(403, late), told(400, late)), ([yes, no], [yes, no]));
        let mut health = Health::default();
        health.see(&Seen::Trouble(status(403)), now);
        assert_eq!(health.authenticated.holds, no);
    }
}
