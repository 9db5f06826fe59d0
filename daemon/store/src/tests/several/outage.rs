//! The server is killed and started again, in the middle of it all.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use super::*;

/// A server of the test's own.
struct OwnServer {
    dir: TempDir,
    url: String,
}

impl OwnServer {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp").expect("a folder");
        let url = up(dir.path()).expect("it starts");
        Self { dir, url }
    }

    /// Once what is left of its earlier life is gone.
    async fn start_again(&self) {
        let dir = self.dir.path().to_owned();
        let again = tokio::task::spawn_blocking(move || while up(&dir).is_none() {});
        within(again).await.expect("it starts");
    }

    /// As by the kernel, all of it: no process of it says goodbye.
    fn kill(&self) {
        let pid = std::fs::read_to_string(self.dir.path().join("data/postmaster.pid")).expect("it runs");
        let pid = pid.lines().next().expect("a pid").to_owned();
        let children = Command::new("pgrep").args(["-P", &pid]).output().expect("pgrep");
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        let _ = Command::new("kill").arg("-9").arg(&pid).args(children.split_whitespace()).status();
    }
}

/// Its URL, if it has come up.
fn up(dir: &Path) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/postgres");
    let output = Command::new(script).arg(std::process::id().to_string()).arg(dir).output().expect("it runs");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if self.dir.path().join("data/postmaster.pid").exists() {
            self.kill();
        }
    }
}

#[tokio::test]
async fn nothing_is_lost_or_done_twice() {
    if !there_is_postgres() {
        return;
    }
    let server = OwnServer::start();
    let daemons = Daemons::on(Database::on_server(&server.url).await, 2, Duration::from_secs(30)).await;
    let accepted = Arc::new(Mutex::new(HashMap::new()));
    let mut working = tokio::task::JoinSet::new();
    for (mut consumer, store) in daemons.consumers(4).into_iter().zip(daemons.stores.clone()) {
        working.spawn(async move {
            while let Some(task) = consumer.next().await {
                store.complete(done(&task, "1"));
                consumer.credit(1);
            }
        });
    }
    let mut sending = tokio::task::JoinSet::new();
    for sender in 0..8 {
        let (store, accepted) = (daemons.stores[sender % 2].clone(), accepted.clone());
        sending.spawn(async move {
            for n in 0..150 {
                let key = format!("{sender}-{n}");
                let new = NewTask { session: Some((n % 7).to_string()), ..keyed(&key) };
                // What is refused, or in doubt, is sent again.
                let id = loop {
                    if let Ok(submitted) = store.submit(NewTask { id: TaskId::new(), ..new.clone() }).await {
                        break submitted.id;
                    }
                };
                accepted.lock().unwrap().insert(key, id);
            }
        });
    }
    for more in [200, 600] {
        let so_many = async || {
            while accepted.lock().unwrap().len() < more {
                tokio::task::yield_now().await;
            }
        };
        within(so_many()).await;
        server.kill();
        // What it left is no sign that it runs.
        std::fs::remove_file(server.dir.path().join("data/postmaster.pid")).expect("it is dead");
        server.start_again().await;
    }
    tokio::time::timeout(BOUND * 3, sending.join_all()).await.expect("all are accepted");
    let open = "select count(*) from task_queue where state <> 'done'";
    within(async { while daemons.database.number(open).await > 0 {} }).await;
    assert_eq!(accepted.lock().unwrap().len(), 1200);
    let number = async |sql: &str| daemons.database.number(sql).await;
    assert_eq!(number("select count(*) from task_queue").await, 1200);
    assert_eq!(number("select count(distinct id) from task_queue").await, 1200);
    assert_eq!(number("select count(*) from ops_outcomes where success").await, 1200);
    assert_eq!(number("select count(distinct task_id) from ops_outcomes where success").await, 1200);
    assert_eq!(number("select count(*) from ops_outcomes where not success").await, 0);
    for store in &daemons.stores {
        assert_eq!(store.health().held, 0);
    }
}
