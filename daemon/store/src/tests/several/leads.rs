//! An agent's name is led by one daemon at a time.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn one_leads_and_the_other_takes_over_when_its_time_is_up() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(2, HOUR).await;
    let (name, [first, second]) = (agent("milkbot"), [&daemons.stores[0], &daemons.stores[1]]);
    let ttl = Duration::from_millis(300);
    let token = first.claim_agent(&name, ttl).await.unwrap().expect("nobody has it");
    assert_eq!(second.claim_agent(&name, ttl).await.unwrap(), None);
    assert!(first.renew_agent(&name, token, ttl).await.unwrap());
    first.record(name.clone(), r#"{"by":"first"}"#.into());
    flush(first).await;
    let taken = within(async {
        loop {
            if let Some(token) = second.claim_agent(&name, HOUR).await.unwrap() {
                return token;
            }
        }
    })
    .await;
    assert_eq!(taken, token + 1);
    assert!(!first.renew_agent(&name, token, ttl).await.unwrap());
    // What it does not know yet does no harm.
    first.record(name.clone(), r#"{"by":"late"}"#.into());
    flush(first).await;
    second.record(name.clone(), r#"{"by":"second"}"#.into());
    flush(second).await;
    first.record(name.clone(), r#"{"by":"later"}"#.into());
    first.release_agent(&name, token).await.unwrap();
    flush(first).await;
    let records = first.records().await.unwrap();
    assert!(records.len() == 1 && same(&records[0].1, r#"{"by":"second"}"#), "{records:?}");
    assert!(second.renew_agent(&name, taken, HOUR).await.unwrap());
}

#[tokio::test]
async fn a_lead_that_is_given_back_is_free_at_once_and_one_of_an_earlier_life_as_well() {
    if !there_is_postgres() {
        return;
    }
    let daemons = Daemons::new(2, HOUR).await;
    let (name, [first, second]) = (agent("milkbot"), [&daemons.stores[0], &daemons.stores[1]]);
    let token = first.claim_agent(&name, HOUR).await.unwrap().unwrap();
    first.release_agent(&name, token).await.unwrap();
    let token = second.claim_agent(&name, HOUR).await.unwrap().expect("it is free");
    assert_eq!(first.claim_agent(&name, HOUR).await.unwrap(), None);
    let backend = daemons.database.open().await.unwrap();
    let (again, _engine) = Store::start(backend, of("1", HOUR)).await.unwrap();
    assert_eq!(again.claim_agent(&name, HOUR).await.unwrap(), Some(token + 1));
    assert!(!second.renew_agent(&name, token, HOUR).await.unwrap());
}

#[tokio::test]
async fn alone_with_its_database_a_daemon_leads_always() {
    let rig = Rig::new(On::Sqlite).await;
    let name = agent("milkbot");
    let token = rig.store.claim_agent(&name, HOUR).await.unwrap().unwrap();
    assert!(rig.store.renew_agent(&name, token, HOUR).await.unwrap());
    rig.store.record(name.clone(), "1".into());
    rig.settle().await;
    rig.store.release_agent(&name, token).await.unwrap();
    assert_eq!(rig.store.records().await.unwrap().len(), 1);
}
