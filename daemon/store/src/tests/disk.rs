//! A full disk: new tasks are refused, results wait.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::database::there_is_postgres;
use super::*;

/// Fills the database's room, completes a task meanwhile, makes room, and sees it stored.
async fn fills_and_empties(rig: Rig, fill: impl AsyncFnOnce(&Rig), empty: impl AsyncFnOnce(&Rig)) {
    let mut consumer = rig.consumer(1);
    let (running, ended) = within(rig.store.submit_and_watch(task())).await.unwrap();
    let leased = next(&mut consumer).await;
    fill(&rig).await;

    let large = || NewTask { payload: incompressible(100_000), ..task() };
    let mut accepted = 1;
    let refused = loop {
        match within(rig.store.submit(large())).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "it never fills");
    };
    assert!(matches!(refused, Error::Full), "{refused}");
    assert_eq!(rig.number("select count(*) from task_queue").await, accepted);

    let result = incompressible(200_000);
    rig.store.complete(done(&leased, &result));
    rig.settle().await;
    let health = rig.store.health();
    assert_eq!(health.held, 1);
    assert!(health.error.is_some_and(|error| error.contains("disk")), "{:?}", rig.store.health());
    assert_eq!(rig.state(running.id).await, TaskState::Leased);

    empty(&rig).await;
    let ended = within(ended).await.unwrap();
    assert_eq!((ended.state, ended.result), (TaskState::Done, Some(result)));
    let health = rig.store.health();
    assert_eq!((health.error, health.held), (None, 0));
    assert!(health.committed_at > ended_at(&rig, running.id).await - TimeDelta::seconds(1));
    rig.submit(large()).await;
}

/// A JSON text that a database cannot make small.
fn incompressible(size: usize) -> String {
    let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(size).collect();
    format!("\"{text}\"")
}

async fn ended_at(rig: &Rig, id: TaskId) -> DateTime<Utc> {
    rig.store.task(id).await.unwrap().finished_at.unwrap()
}

async fn pages(sqlite: &Sqlite, most: i64) {
    let sql = sqlx::AssertSqlSafe(format!("pragma max_page_count = {most}"));
    sqlx::query(sql).execute(&mut *sqlite.writer.lock().await).await.unwrap();
}

#[tokio::test]
async fn a_database_at_its_bound_resumes_by_itself() {
    let on = On::Sqlite;
    let database = Database::new(on).await;
    // Of its one writing connection, to which alone the bound is told.
    let sqlite = Arc::new(Sqlite::open(&database.path()).await.unwrap());
    let (store, engine) = Store::start(sqlite.clone(), options()).await.unwrap();
    let rig = Rig { database, backend: sqlite.clone(), store, engine };
    let now = rig.number("pragma page_count").await;
    fills_and_empties(rig, async |_| pages(&sqlite, now + 60).await, async |_| pages(&sqlite, 1 << 20).await)
        .await;
}

/// Each says what it is, and nothing is "away".
#[tokio::test]
async fn lookups_that_are_too_many_and_a_file_that_is_locked_are_told_apart() {
    let database = Database::new(On::Sqlite).await;
    let sqlite = Arc::new(Sqlite::open(&database.path()).await.unwrap());
    let (store, engine) = Store::start(sqlite.clone(), options()).await.unwrap();
    let rig = Rig { database, backend: sqlite.clone(), store, engine };
    let taken = [sqlite.readers.acquire().await.unwrap(), sqlite.readers.acquire().await.unwrap()];
    let refused = within(rig.store.events(&agent("milkbot"), "x", 1)).await.unwrap_err();
    assert!(matches!(refused, Error::Busy) && rig.store.health().crowded, "{refused}");
    // Work goes on beside that.
    let id = rig.submit(task()).await;
    assert_eq!(within(rig.store.task(id)).await.unwrap().state, TaskState::Queued);
    drop(taken);
    within(rig.store.events(&agent("milkbot"), "x", 1)).await.unwrap();
    assert!(!rig.store.health().crowded);

    let mut other = rig.database.outside().await;
    sqlx::raw_sql("begin immediate").execute(&mut other).await.unwrap();
    let refused = within(rig.store.submit(task())).await.unwrap_err();
    assert!(matches!(refused, Error::Locked), "{refused}");
    let told = rig.store.health();
    assert!(!told.crowded && told.error.is_some_and(|error| error.contains("locked")));
    sqlx::raw_sql("rollback").execute(&mut other).await.unwrap();
    within(async {
        while rig.store.health().error.is_some() {
            rig.settle().await;
        }
    })
    .await;
    assert_eq!(rig.number("select count(*) from task_queue").await, 1);
}

/// A small disk of its own, unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let size = format!("size={size}");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        assert!(std::env::var("CI").as_deref() != Ok("true"), "a small disk cannot be mounted: run as root");
        None
    }

    fn filler(&self) -> std::path::PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("a file");
    while file.write_all(&[0; 4096]).is_ok() {}
}

#[tokio::test]
async fn a_full_disk_resumes_by_itself() {
    let Some(disk) = SmallDisk::mount("4m") else {
        println!("skipped: a small disk cannot be mounted, which needs root");
        return;
    };
    let rig =
        Rig::open(Database::Sqlite(tempfile::tempdir_in(disk.0.path()).expect("a folder")), options()).await;
    let fill = async |_: &Rig| fill(&disk.filler());
    fills_and_empties(rig, fill, async |_| std::fs::remove_file(disk.filler()).expect("it goes")).await;
}

#[tokio::test]
async fn a_server_s_full_disk_resumes_by_itself() {
    if !there_is_postgres() {
        return;
    }
    let Some(disk) = SmallDisk::mount("16m") else {
        println!("skipped: a small disk cannot be mounted, which needs root");
        return;
    };
    let place = disk.0.path();
    assert!(Command::new("chown").arg("postgres").arg(place).status().unwrap().success());
    let database = Database::new(On::Postgres).await;
    let Database::Postgres { name, .. } = &database else { panic!("not there") };
    let space = format!("s{name}");
    let folder = place.join("space");
    std::fs::create_dir(&folder).unwrap();
    assert!(Command::new("chown").arg("postgres").arg(&folder).status().unwrap().success());
    database.execute(&format!("create tablespace {space} location '{}'", folder.display())).await;
    database.execute(&format!("alter database {name} set default_tablespace = {space}")).await;
    let rig = Rig::open(database, options()).await;
    let fill = async |_: &Rig| fill(&disk.filler());
    fills_and_empties(rig, fill, async |_| std::fs::remove_file(disk.filler()).expect("it goes")).await;
    // With the database gone nothing is in it.
    let main = Database::new(On::Postgres).await;
    main.execute(&format!("drop tablespace {space}")).await;
}
