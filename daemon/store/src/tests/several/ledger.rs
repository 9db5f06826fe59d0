//! Several daemons spend of the same budgets.

use super::super::ledger::{call, share};
use super::*;
use crate::ledger::{Entry, Share};

#[tokio::test]
async fn daemons_side_by_side_do_not_overspend() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(3, Duration::from_secs(30)).await;
    let mut racing = tokio::task::JoinSet::new();
    let other = |amount| Share { budget: ("a".into(), "2026-11".into()), amount, limit: 1000 };
    for n in 0..90 {
        let store = daemons.stores[n % 3].clone();
        racing.spawn(async move {
            // In either order: they must not wait for each other.
            let mut shares = vec![share(1, 40), other(1)];
            if n % 2 == 0 {
                shares.reverse();
            }
            if store.enter(Entry::Reserve(shares.clone())).await.unwrap().exhausted.is_some() {
                return 0;
            }
            let settle = Entry::Settle { reserved: shares, used: vec![1, 1], call: call("milkbot") };
            store.enter(settle).await.unwrap();
            1
        });
    }
    let won: usize = within(racing.join_all()).await.into_iter().sum();
    assert_eq!(won, 40);
    let usage = daemons.stores[0].usage(&["2026-11-28".into()]).await.unwrap();
    assert_eq!((usage[0].used, usage[0].reserved), (40, 0));
    assert_eq!(daemons.stores[1].calls(None, 100).await.unwrap().len(), 40);
}
