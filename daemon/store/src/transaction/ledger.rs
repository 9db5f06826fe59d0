//! Reservations and settlements, in the order in which they came. What a budget has is read once, under its lock, and
//! written once.

use std::collections::{BTreeMap, BTreeSet};

use super::{Moment, Statements};
use crate::Error;
use crate::ledger::{BudgetKey, Entered, Entry, Kept, Level, Short};

pub(super) async fn enter(
    db: &mut impl Statements,
    entries: &[Entry],
    moment: &Moment,
) -> Result<Vec<Entered>, Error> {
    for entry in entries {
        if let Entry::Abandon(before) = entry {
            db.abandon(moment.of(*before)).await?;
        }
    }
    // In one order, which all daemons agree on: none waits for another that waits for it.
    let keys: BTreeSet<&BudgetKey> =
        entries.iter().flat_map(Entry::shares).map(|share| &share.budget).collect();
    let mut budgets = BTreeMap::new();
    for key in keys {
        budgets.insert(key, db.budget(key, moment.now).await?);
    }
    let before = budgets.clone();
    let mut entered = Vec::with_capacity(entries.len());
    for entry in entries {
        let new = match entry {
            Entry::Begin(call) | Entry::Settle { call, .. } => db.call(call, moment.of(call.at)).await?,
            Entry::Abandon(_) | Entry::Reserve(_) => true,
        };
        entered.push(if new { apply(entry, &mut budgets) } else { Entered::default() });
    }
    for (key, kept) in budgets.iter().filter(|(key, kept)| before.get(*key) != Some(*kept)) {
        db.keep_budget(key, kept, moment.now).await?;
    }
    Ok(entered)
}

/// What an entry changes.
fn apply<'e>(entry: &'e Entry, budgets: &mut BTreeMap<&'e BudgetKey, Kept>) -> Entered {
    let mut entered = Entered::default();
    match entry {
        Entry::Reserve(shares) => {
            let full = |budgets: &BTreeMap<_, Kept>| {
                shares.iter().find(|share| budgets.get(&share.budget).is_some_and(|kept| !kept.fits(share)))
            };
            if let Some(share) = full(budgets) {
                if let Some(kept) = budgets.get_mut(&share.budget) {
                    let short = Short { share: share.clone(), used: kept.used, reserved: kept.reserved };
                    entered.exhausted = Some(short);
                    // That a call wants much says nothing of what is used. Of a limit that was lowered, it is told here.
                    let told = kept.tell(Level::of(kept.used, share.limit));
                    entered.crossed.extend(told.map(|level| (share.clone(), level)));
                }
                return entered;
            }
            for share in shares {
                if let Some(kept) = budgets.get_mut(&share.budget) {
                    kept.reserved = kept.reserved.saturating_add(share.amount);
                }
            }
        }
        Entry::Settle { reserved, used, .. } => {
            for (share, used) in reserved.iter().zip(used) {
                if let Some(kept) = budgets.get_mut(&share.budget) {
                    kept.reserved = kept.reserved.saturating_sub(share.amount).max(0);
                    kept.used = kept.used.saturating_add(*used);
                    let told = kept.tell(Level::of(kept.used, share.limit));
                    entered.crossed.extend(told.map(|level| (share.clone(), level)));
                }
            }
        }
        Entry::Begin(_) | Entry::Abandon(_) => {}
    }
    entered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::{NewCall, Share};

    fn share(budget: u8, amount: i64) -> Share {
        Share { budget: (budget.to_string(), "p".into()), amount, limit: 100 }
    }

    fn settle(reserved: Vec<Share>, used: Vec<i64>) -> Entry {
        let call = NewCall {
            id: uuid::Uuid::now_v7(),
            agent: "a".parse().unwrap(),
            capability: "ask",
            provider: "p".into(),
            model: None,
            tokens_in: 0,
            tokens_out: 0,
            cost: 0,
            duration_ms: 0,
            outcome: "ok",
            detail: None,
            at: chrono::Utc::now(),
        };
        Entry::Settle { reserved, used, call: Box::new(call) }
    }

    proptest! {
        /// Whatever is reserved and settled side by side, for no more than was reserved: no budget is overspent, each
        /// level is told once, and what is left when all has ended is what was used.
        #[test]
        fn nothing_is_overspent(calls in prop::collection::vec((0u8..3, 0u8..3, 0i64..60, 0.0..=1.0f64, any::<bool>()), 1..60)) {
            let keys: Vec<_> = (0u8..3).map(|n| share(n, 0).budget).collect();
            let entries: Vec<_> = calls
                .iter()
                .map(|(a, b, amount, part, late)| {
                    let shares = if a == b { vec![share(*a, *amount)] } else { vec![share(*a, *amount), share(*b, *amount)] };
                    let used: Vec<_> = shares.iter().map(|share| (share.amount as f64 * part) as i64).collect();
                    (Entry::Reserve(shares.clone()), settle(shares, used), *late)
                })
                .collect();
            let mut budgets: BTreeMap<_, _> = keys.iter().map(|key| (key, Kept::default())).collect();
            let (mut late, mut told) = (Vec::new(), Vec::new());
            for (reserve, end, is_late) in &entries {
                let entered = apply(reserve, &mut budgets);
                told.extend(entered.crossed);
                if entered.exhausted.is_none() {
                    if *is_late { late.push(end) } else { told.extend(apply(end, &mut budgets).crossed) }
                }
                prop_assert!(budgets.values().all(|kept| kept.used + kept.reserved <= 100));
            }
            for end in late {
                told.extend(apply(end, &mut budgets).crossed);
                prop_assert!(budgets.values().all(|kept| kept.used + kept.reserved <= 100));
            }
            prop_assert!(budgets.values().all(|kept| kept.reserved == 0));
            let mut once: Vec<_> = told.iter().map(|(share, level)| (&share.budget, *level)).collect();
            let all = once.len();
            once.sort();
            once.dedup();
            prop_assert_eq!(once.len(), all);
        }
    }

    #[test]
    fn a_call_that_wants_much_uses_nothing_up() {
        let budget = share(0, 0).budget;
        let mut budgets = BTreeMap::from([(&budget, Kept::default())]);
        let (much, little) = (Entry::Reserve(vec![share(0, 101)]), Entry::Reserve(vec![share(0, 80)]));
        let entered = apply(&much, &mut budgets);
        assert!(entered.exhausted.is_some() && entered.crossed.is_empty(), "{entered:?}");
        assert!(apply(&little, &mut budgets).exhausted.is_none());
        let end = settle(vec![share(0, 80)], vec![80]);
        let told: Vec<_> = apply(&end, &mut budgets).crossed.into_iter().map(|(_, level)| level).collect();
        assert_eq!(told, [Level::Warning]);
    }

    #[test]
    fn each_level_is_told_as_it_is_reached() {
        let mut kept = Kept::default();
        let mut spent = |amount| {
            kept.used += amount;
            kept.tell(Level::of(kept.used, 100))
        };
        assert_eq!(spent(74), None);
        assert_eq!(spent(1), Some(Level::Warning));
        assert_eq!(spent(14), None);
        assert_eq!(spent(1), Some(Level::Critical));
        assert_eq!(spent(9), None);
        assert_eq!(spent(1), Some(Level::Exhausted));
        assert_eq!(spent(50), None);
    }
}
