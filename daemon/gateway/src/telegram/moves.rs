//! Groups that became supergroups, which have another id: <https://core.telegram.org/bots/api#responseparameters>. Pure.
//!
//! What the configuration says of the old one holds for the new one, and what is owed to the old one is sent to the new one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most that are remembered; a bot is in few groups, and each moves once.
const MOST: usize = 256;

/// Where chats have gone, by their old id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moves(BTreeMap<i64, i64>);

impl Moves {
    /// A chat has another id now; answers whether that is news that is kept.
    pub fn note(&mut self, from: i64, to: i64) -> bool {
        // A chat moves once; so whatever leads back to `from` ends there, and would be a circle.
        let news = !self.0.contains_key(&from) && self.now(to) != from;
        let kept = news && from != 0 && to != 0 && self.0.len() < MOST;
        if kept {
            self.0.insert(from, to);
        }
        kept
    }

    /// The id that it has now.
    pub fn now(&self, chat: i64) -> i64 {
        let mut now = chat;
        // Each step is another entry, since there are no circles.
        while let Some(next) = self.0.get(&now) {
            now = *next;
        }
        now
    }

    /// `chat` as it is called among these, by the id that it has or had.
    pub fn among(&self, chats: impl IntoIterator<Item = i64>, chat: i64) -> Option<i64> {
        chats.into_iter().find(|one| self.now(*one) == self.now(chat))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chat_is_found_by_its_old_id_and_its_new_one() {
        let mut moves = Moves::default();
        moves.note(-5, -1005);
        moves.note(-1005, -2005);
        assert_eq!([-5, -1005, -2005, -6].map(|chat| moves.now(chat)), [-2005, -2005, -2005, -6]);
        assert_eq!(moves.among([-7, -5], -2005), Some(-5));
        assert_eq!((moves.among([-2005], -5), moves.among([-5], -6)), (Some(-2005), None));
        assert_eq!(serde_json::to_string(&moves).unwrap(), r#"{"-1005":-2005,"-5":-1005}"#);
    }

    proptest! {
        #[test]
        fn whatever_is_said_it_is_bounded_and_ends(said in prop::collection::vec((-9..9_i64, -9..9_i64), 0..400)) {
            let mut moves = Moves::default();
            for (from, to) in said {
                moves.note(from, to);
                (-9..9).for_each(|chat| assert!((-9..9).contains(&moves.now(chat))));
            }
            prop_assert!(moves.0.len() <= MOST);
        }
    }
}
