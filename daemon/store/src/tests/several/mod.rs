//! Several daemons on one PostgreSQL, and what happens when it breaks under them.

mod doubt;
mod faults;
mod leads;
mod ledger;
mod outage;
mod proxy;
mod racing;

use super::database::there_is_postgres;
use super::*;

/// Daemons of different installations on one database.
struct Daemons {
    database: Database,
    stores: Vec<Store>,
    _engines: Vec<JoinHandle<()>>,
}

impl Daemons {
    async fn new(count: usize, lease: Duration) -> Self {
        Self::on(Database::new(On::Postgres).await, count, lease).await
    }

    async fn on(database: Database, count: usize, lease: Duration) -> Self {
        let (mut stores, mut engines) = (Vec::new(), Vec::new());
        for n in 0..count {
            let backend = within(database.open()).await.expect("it opens");
            let (store, engine) = Store::start(backend, of(&n.to_string(), lease)).await.expect("it starts");
            stores.push(store);
            engines.push(engine);
        }
        Self { database, stores, _engines: engines }
    }

    /// A consumer of `milkbot` at each.
    fn consumers(&self, credit: u32) -> Vec<Consumer> {
        let consumer = |store: &Store| {
            let consumer = store.consumer(agent("milkbot"));
            consumer.credit(credit);
            consumer
        };
        self.stores.iter().map(consumer).collect()
    }
}

/// The options of one installation.
fn of(installation: &str, lease: Duration) -> Options {
    Options { installation: installation.into(), lease, ..options() }
}
