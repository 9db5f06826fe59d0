//! An agent's name is led by one daemon at a time.

use super::*;
use crate::backend::Claim;

const HOUR: Duration = Duration::from_secs(3600);

async fn claim(store: &Store, name: &AgentName, ttl: Duration) -> Option<i64> {
    match store.claim_agents(std::slice::from_ref(name), ttl).await.unwrap().pop().unwrap().1 {
        Claim::Won(token) => Some(token),
        Claim::Lost { .. } => None,
    }
}

async fn renew(store: &Store, name: &AgentName, token: i64, ttl: Duration) -> bool {
    store.renew_agents(&[(name.clone(), token)], ttl).await.unwrap().kept == [name.clone()]
}

async fn release(store: &Store, name: &AgentName, token: i64) {
    store.release_agents(&[(name.clone(), token)]).await.unwrap();
}

#[tokio::test]
async fn one_leads_and_the_other_takes_over_when_its_time_is_up() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(2, HOUR).await;
    let (name, [first, second]) = (agent("milkbot"), [&daemons.stores[0], &daemons.stores[1]]);
    let ttl = Duration::from_millis(300);
    let token = claim(first, &name, ttl).await.expect("nobody has it");
    assert_eq!(claim(second, &name, ttl).await, None);
    assert!(renew(first, &name, token, ttl).await);
    first.record(name.clone(), r#"{"by":"first"}"#.into());
    flush(first).await;
    let taken = within(async {
        loop {
            if let Some(token) = claim(second, &name, ttl).await {
                return token;
            }
        }
    })
    .await;
    assert_eq!(taken, token + 1);
    assert!(!renew(first, &name, token, ttl).await);
    // What it does not know yet does no harm.
    first.record(name.clone(), r#"{"by":"late"}"#.into());
    flush(first).await;
    second.record(name.clone(), r#"{"by":"second"}"#.into());
    flush(second).await;
    first.record(name.clone(), r#"{"by":"later"}"#.into());
    release(first, &name, token).await;
    flush(first).await;
    let records = first.records().await.unwrap();
    assert!(records.len() == 1 && same(&records[0].1, r#"{"by":"second"}"#), "{records:?}");
    assert!(renew(second, &name, taken, HOUR).await);
}

#[tokio::test]
async fn a_lead_that_is_given_back_is_free_at_once_and_one_of_an_earlier_life_as_well() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(2, HOUR).await;
    let (name, [first, second]) = (agent("milkbot"), [&daemons.stores[0], &daemons.stores[1]]);
    let token = claim(first, &name, HOUR).await.unwrap();
    release(first, &name, token).await;
    let token = claim(second, &name, HOUR).await.expect("it is free");
    assert_eq!(claim(first, &name, HOUR).await, None);
    let backend = daemons.database.open().await.unwrap();
    let (again, _engine) = Store::start(backend, of("1", HOUR)).await.unwrap();
    assert_eq!(claim(&again, &name, HOUR).await, Some(token + 1));
    assert!(!renew(second, &name, token, HOUR).await);
}

#[tokio::test]
async fn a_token_that_two_have_since_the_database_was_put_back_is_its_owner_s() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(2, HOUR).await;
    let (name, [first, second]) = (agent("milkbot"), [&daemons.stores[0], &daemons.stores[1]]);
    let token = claim(first, &name, HOUR).await.unwrap();
    // What the first won is lost, and the second wins the same.
    daemons
        .database
        .execute(
            "update agent_state set lease_owner = null, lease_until = null, lease_token = lease_token - 1",
        )
        .await;
    assert_eq!(claim(second, &name, HOUR).await, Some(token));
    assert!(!renew(first, &name, token, HOUR).await);
    first.record(name.clone(), r#"{"by":"first"}"#.into());
    flush(first).await;
    assert_eq!(first.records().await.unwrap(), []);
    release(first, &name, token).await;
    assert!(renew(second, &name, token, HOUR).await);
}

#[tokio::test]
async fn alone_with_its_database_a_daemon_leads_always() {
    let rig = Rig::new(On::Sqlite).await;
    let name = agent("milkbot");
    let token = claim(&rig.store, &name, HOUR).await.unwrap();
    assert!(renew(&rig.store, &name, token, HOUR).await);
    rig.store.record(name.clone(), "1".into());
    rig.settle().await;
    release(&rig.store, &name, token).await;
    assert_eq!(rig.store.records().await.unwrap().len(), 1);
}
