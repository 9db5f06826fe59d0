//! Who may talk with the team, and how a stranger becomes one of them. Pure.
//!
//! ```text
//!  a stranger writes ─▶ Pending{code, until} ─ `openclaw telegram approve CODE` ─▶ Approved ─ `… revoke ID` ─▶ a stranger
//!                        └─ an hour passes: forgotten
//! ```
//!
//! At most three wait, so that nobody can fill it; whoever comes then is not answered, nor is whoever has a code already.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use settings::Telegram;

use super::moves::Moves;
use super::update::{Inbound, Person};

/// How long a code is good.
pub const GOOD_FOR: TimeDelta = TimeDelta::hours(1);
/// The most strangers that wait.
pub const MOST_PENDING: usize = 3;
/// The most people who are approved: the configuration can name more.
pub const MOST_APPROVED: usize = 1000;
/// A code's characters: those that nobody confuses.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// A code's length.
const LENGTH: usize = 8;

/// A stranger who has a code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What the operator types.
    pub code: String,
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// Until when the code is good.
    pub until: DateTime<Utc>,
    /// The update that it was made for: delivered again, it is answered again.
    #[serde(default)]
    pub update: i64,
}

/// Somebody who was let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// Who.
    #[serde(flatten)]
    pub person: Person,
    /// By whom.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Those who came by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct People {
    /// With a code.
    pub pending: Vec<Pending>,
    /// Let in.
    pub approved: Vec<Approved>,
    /// Where groups have gone.
    pub moves: Moves,
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Talk with the team; `operator`: and command the daemon.
    Admitted {
        /// Whether the daemon obeys them.
        operator: bool,
    },
    /// Nothing yet, and a code may be asked for.
    Stranger,
    /// Nothing, and nothing is said.
    Ignored,
}

/// Who may, in which chat.
pub fn admit(inbound: &Inbound, settings: &Telegram, people: &People) -> Admission {
    let id = inbound.sender.id;
    let operator = settings.operators.contains(&id);
    let known = operator || settings.allow.contains(&id) || people.is_approved(id);
    if inbound.group {
        let here = people.moves.among(settings.groups.iter().copied(), inbound.place.chat);
        let here = here.is_some() && inbound.addressed;
        return if here && known { Admission::Admitted { operator } } else { Admission::Ignored };
    }
    match (known, inbound.addressed) {
        (true, true) => Admission::Admitted { operator },
        (false, true) => Admission::Stranger,
        (_, false) => Admission::Ignored,
    }
}

/// Why a code lets nobody in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such code, or not any more.
    #[error(
        "no stranger has the code `{}`: it is good for an hour; `openclaw telegram pending` lists those that are",
        code.escape_debug()
    )]
    Code {
        /// What was typed.
        code: String,
    },
    /// Nobody of that id was let in.
    #[error(
        "nobody with the id {id} was approved; `openclaw telegram status` shows who was, and whom `allow` in [telegram] names \
         is let in by the configuration"
    )]
    Id {
        /// What was typed.
        id: i64,
    },
    /// There is no room.
    #[error("{MOST_APPROVED} people are approved already: revoke some")]
    Full,
}

impl People {
    /// Whether somebody was let in.
    pub fn is_approved(&self, id: i64) -> bool {
        self.approved.iter().any(|approved| approved.person.id == id)
    }

    /// Forgets codes that are no longer good.
    pub fn expire(&mut self, now: DateTime<Utc>) {
        self.pending.retain(|pending| pending.until > now);
    }

    /// A stranger writes, in that update; answers a code where they are to be told one. `dice` makes it.
    pub fn knock(&mut self, person: &Person, update: i64, now: DateTime<Utc>, dice: u64) -> Option<String> {
        self.expire(now);
        if let Some(waits) = self.pending.iter().find(|pending| pending.person.id == person.id) {
            return (waits.update == update).then(|| waits.code.clone());
        }
        if self.is_approved(person.id) || self.pending.len() >= MOST_PENDING {
            return None;
        }
        let code = code(dice);
        if self.pending.iter().any(|pending| pending.code == code) {
            return None;
        }
        self.pending.push(Pending {
            code: code.clone(),
            person: person.clone(),
            until: now + GOOD_FOR,
            update,
        });
        Some(code)
    }

    /// Lets in who has that code.
    ///
    /// # Errors
    /// Nobody has.
    pub fn approve(&mut self, typed: &str, by: &str, now: DateTime<Utc>) -> Result<Person, Refused> {
        self.expire(now);
        let wanted = typed.trim().to_ascii_uppercase();
        let place = self.pending.iter().position(|pending| pending.code == wanted);
        let place = place.ok_or_else(|| Refused::Code { code: typed.into() })?;
        if self.approved.len() >= MOST_APPROVED {
            return Err(Refused::Full);
        }
        let person = self.pending.remove(place).person;
        self.approved.push(Approved { person: person.clone(), by: by.into(), at: now });
        Ok(person)
    }

    /// Shuts somebody out again.
    ///
    /// # Errors
    /// They were not let in.
    pub fn revoke(&mut self, id: i64) -> Result<Person, Refused> {
        let place = self.approved.iter().position(|approved| approved.person.id == id);
        place.map(|place| self.approved.remove(place).person).ok_or(Refused::Id { id })
    }
}

fn code(mut dice: u64) -> String {
    let sides = ALPHABET.len() as u64;
    let letter = |_| {
        let letter = ALPHABET[(dice % sides) as usize];
        dice /= sides;
        char::from(letter)
    };
    (0..LENGTH).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::update::Place;
    use super::*;

    fn person(id: i64) -> Person {
        Person { id, name: format!("p{id}") }
    }

    fn inbound(sender: i64, group: bool, addressed: bool) -> Inbound {
        let place = Place::chat(if group { -1 } else { sender });
        Inbound { update: 1, place, sender: person(sender), group, addressed, text: "x".into(), file: None }
    }

    #[test]
    fn nobody_is_admitted_by_default() {
        let (nobody, people) = (Telegram::default(), People::default());
        assert_eq!(admit(&inbound(1, false, true), &nobody, &people), Admission::Stranger);
        assert_eq!(admit(&inbound(1, true, true), &nobody, &people), Admission::Ignored);
    }

    #[test]
    fn a_group_needs_its_own_permission_its_senders_and_a_mention() {
        let mut settings = Telegram { allow: vec![1], operators: vec![2], ..Telegram::default() };
        let people = People::default();
        let yes = |operator| Admission::Admitted { operator };
        assert_eq!(admit(&inbound(1, false, true), &settings, &people), yes(false));
        assert_eq!(admit(&inbound(2, false, true), &settings, &people), yes(true));
        assert_eq!(admit(&inbound(1, true, true), &settings, &people), Admission::Ignored);
        settings.groups = vec![-1];
        assert_eq!(admit(&inbound(1, true, true), &settings, &people), yes(false));
        assert_eq!(admit(&inbound(1, true, false), &settings, &people), Admission::Ignored);
        assert_eq!(admit(&inbound(3, true, true), &settings, &people), Admission::Ignored);
    }

    #[test]
    fn a_code_is_told_once_is_good_for_an_hour_and_lets_one_in() {
        let (mut people, now) = (People::default(), DateTime::UNIX_EPOCH);
        let code = people.knock(&person(1), 7, now, 12_345).unwrap();
        assert_eq!(code.len(), LENGTH);
        assert_eq!(people.knock(&person(1), 8, now, 6), None);
        assert_eq!(people.knock(&person(1), 7, now, 6), Some(code.clone()), "it may not have been told");
        assert!(people.approve("AAAAAAAA", "op", now).is_err());
        let late = now + GOOD_FOR;
        assert!(people.clone().approve(&code, "op", late).is_err());
        let typed = format!(" {} ", code.to_lowercase());
        assert_eq!(people.approve(&typed, "op", late - TimeDelta::seconds(1)), Ok(person(1)));
        assert!(people.is_approved(1) && people.approve(&code, "op", now).is_err());
        assert_eq!(people.knock(&person(1), 9, now, 9), None);
        assert_eq!(people.revoke(1), Ok(person(1)));
        assert_eq!(people.revoke(1), Err(Refused::Id { id: 1 }));
    }

    proptest! {
        #[test]
        fn never_more_wait_than_may_and_nobody_comes_in_without_a_code(
            steps in prop::collection::vec((0..8_i64, 0..90_i64, any::<u64>(), any::<bool>()), 0..60),
        ) {
            let (mut people, mut now) = (People::default(), DateTime::UNIX_EPOCH);
            for (id, minutes, dice, approve) in steps {
                now += TimeDelta::minutes(minutes);
                if approve {
                    let waiting = people.pending.first().cloned();
                    let result = people.approve(&waiting.clone().map(|p| p.code).unwrap_or_default(), "op", now);
                    let good = waiting.is_some_and(|pending| pending.until > now);
                    prop_assert_eq!(result.is_ok(), good);
                } else if people.knock(&person(id), 0, now, dice).is_some() {
                    prop_assert!(people.pending.iter().any(|pending| pending.person.id == id));
                }
                prop_assert!(people.pending.len() <= MOST_PENDING);
                for pending in &people.pending {
                    prop_assert!(!people.is_approved(pending.person.id));
                }
            }
        }
    }
}
