//! The database or the bus is away, or slow: what goes on, what is refused, what the status says, and that all of it
//! mends itself.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::signal::Signal;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::http::{Answer, Http};
use openclaw_tests::server::{Postgres, Redis};
use openclaw_tests::wait_for;
use serde_json::{Value, json};

use crate::http::{TOKEN, secrets, tokens};
use crate::support::{UNBOUND, fails, pid, quick, reply};

/// A daemon on servers of its own.
struct Stage {
    home: Home,
    daemon: Daemon,
    postgres: Postgres,
    redis: Redis,
}

impl Stage {
    fn new() -> Result<Option<Self>> {
        let (Some(postgres), Some(mut redis)) = (Postgres::start()?, Redis::new()?) else { return Ok(None) };
        redis.start()?;
        // Not the superuser, whom no limit holds.
        postgres.execute("postgres", "create role worker login")?;
        postgres.execute("postgres", "create database own owner worker")?;
        let url = postgres.url("own").replace("postgres@", "worker@");
        let agents = format!("[agents.misbehaving]\n{UNBOUND}\nconcurrency = 4\n");
        let servers = format!("[database]\nurl = \"{url}\"\n[bus]\nurl = \"{}\"\n", redis.url());
        let home = Home::new(&quick(&format!("{agents}{servers}")), &["misbehaving"])?;
        secrets(&home, &tokens())?;
        let daemon = home.start_ready(&["misbehaving"])?;
        Ok(Some(Self { home, daemon, postgres, redis }))
    }

    /// The operator's client.
    fn http(&self) -> Result<Http> {
        Http::of(&self.home, Some(TOKEN))
    }

    /// Waits until a component's health is this.
    fn health(&self, component: &str, health: &str) -> Result<Value> {
        let mut last = Value::Null;
        wait_for(&format!("{component} to be {health}"), || {
            last = self.home.component(component)?;
            Ok((last["health"] == health).then(|| last.clone()))
        })
        .with_context(|| format!("last seen: {last}"))
    }

    /// A task that is in work until `file` has two lines, begun.
    fn begin(&self, file: &str) -> Result<String> {
        let path = self.home.path().join(file);
        let text = format!("meet {} 2", path.display());
        let sent = self.home.json(&["send", "misbehaving", &text, "--no-wait", "--json"])?;
        wait_for("the task to be in work", || Ok(path.exists().then_some(())))?;
        Ok(sent["task_id"].as_str().context("an id")?.to_owned())
    }

    /// Lets it end.
    fn end(&self, file: &str) -> Result<()> {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.home.path().join(file))?;
        Ok(std::io::Write::write_all(&mut file, b"here\n")?)
    }

    /// While the database is away: nothing is accepted, and who asks is told so with 75; a result waits, and that is
    /// seen. Answers what was told.
    fn refuses_and_holds(&self, why: &str) -> Result<String> {
        let said = fails(&self.home, 75, &["send", "misbehaving", "echo no", "--key", "later"])?;
        ensure!(said.contains("the database"), "{said}");
        let store = wait_for(&format!("a result to be held since {why}"), || {
            let store = self.home.component("store")?;
            let reason = store["reason"].as_str().context("a reason")?;
            let held = reason.contains("(1 results wait)") && reason.contains(why);
            Ok(held.then_some(store))
        })?;
        ensure!(store["health"] == "failed" && store["state"] == "backoff", "{store}");
        Ok(said)
    }

    /// Once it is back: the held result is stored, under its lease and once, and work is accepted again. What was refused
    /// is not stored, unless `told` says that it may be.
    fn resumed(&self, held: &str, told: &str) -> Result<()> {
        self.health("store", "ok")?;
        let task = wait_for("the held result to be stored", || {
            let task = self.home.json(&["tasks", "show", held, "--json"])?;
            Ok((task["state"] == "done").then_some(task))
        })?;
        ensure!(task["attempts"] == 1, "{task}");
        let outcomes = format!("select count(*) from ops_outcomes where task_id = '{held}'");
        ensure!(self.postgres.number("own", &outcomes)? == 1);
        let answer = self.home.json(&["send", "misbehaving", "echo yes", "--key", "later", "--json"])?;
        let in_doubt = told.contains("may or may not be stored") && answer["result"]["text"] == "no";
        ensure!(in_doubt || answer["result"]["text"] == "yes", "{told}: {answer}");
        Ok(())
    }

    fn stop(self) -> Result<()> {
        ensure!(self.daemon.stop()?.success(), "{}", self.home.log());
        Ok(())
    }
}

#[test]
fn the_database_goes_and_comes_back() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let (host, task) = (pid(&stage.home, "misbehaving")?, stage.begin("one")?);
    stage.postgres.kill()?;
    stage.end("one")?;
    let told = stage.refuses_and_holds("the database is down")?;
    let agent = stage.home.component("misbehaving")?;
    ensure!(agent["state"] == "ready" && agent["pid"] == host, "{agent}");
    stage.postgres.start_again()?;
    stage.resumed(&task, &told)?;
    ensure!(pid(&stage.home, "misbehaving")? == host, "the agent was started anew");
    stage.stop()
}

#[test]
fn both_go_and_come_back() -> Result<()> {
    let Some(mut stage) = Stage::new()? else { return Ok(()) };
    let (host, task) = (pid(&stage.home, "misbehaving")?, stage.begin("one")?);
    stage.redis.kill()?;
    stage.postgres.kill()?;
    stage.end("one")?;
    let told = stage.refuses_and_holds("the database is down")?;
    stage.health("bus", "degraded")?;
    // One after the other, as it comes.
    stage.postgres.start_again()?;
    stage.resumed(&task, &told)?;
    stage.health("bus", "degraded")?;
    stage.redis.start()?;
    stage.health("bus", "ok")?;
    ensure!(pid(&stage.home, "misbehaving")? == host, "the agent was started anew");
    wait_for("the agent to be shown again", || {
        let status = stage.redis.ask(&["HGET", "agent:misbehaving:status", "state"])?;
        Ok((status == "ready").then_some(()))
    })?;
    stage.stop()
}

#[test]
fn without_redis_work_goes_on_between_daemons() -> Result<()> {
    let Some(mut stage) = Stage::new()? else { return Ok(()) };
    stage.redis.kill()?;
    stage.health("bus", "degraded")?;
    ensure!(reply(&stage.home, "misbehaving", "echo well")? == "well");
    stage.redis.start()?;
    stage.health("bus", "ok")?;
    // A Redis that is there and does not answer is no other.
    stage.redis.signal(Signal::SIGSTOP)?;
    stage.health("bus", "degraded")?;
    ensure!(reply(&stage.home, "misbehaving", "echo well")? == "well");
    stage.redis.signal(Signal::SIGCONT)?;
    stage.health("bus", "ok")?;
    stage.stop()
}

#[test]
fn a_database_that_stands_still_is_told_and_goes_on() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let task = stage.begin("one")?;
    stage.postgres.signal(Signal::SIGSTOP)?;
    stage.end("one")?;
    // The status is answered at once, whatever the database does.
    let agent = stage.home.component("misbehaving")?;
    ensure!(agent["state"] == "ready", "{agent}");
    // Nobody waits as long as a transaction may take: neither who is the first to ask, nor who comes later.
    let http = stage.http()?;
    let post = || {
        let text = r#"{"agent":"misbehaving","text":"echo in doubt"}"#;
        let posted = http.request("POST", "/api/v1/messages").header("idempotency-key", "doubt");
        http.send(posted.header("content-type", "application/json").body(text)?)
    };
    let refused = post()?;
    ensure!(refused.status == 503, "{}", refused.text);
    // It is refused while the turn stands: the transaction itself may go on.
    let store = stage.home.component("store")?;
    ensure!(store["health"] == "degraded", "{store}");
    for look in ["/readyz", "/api/v1/tasks"] {
        ensure!(http.get(look)?.status == 503, "{look}");
    }
    stage.health("store", "failed")?;
    let told = stage.refuses_and_holds("the database")?;
    stage.postgres.signal(Signal::SIGCONT)?;
    stage.resumed(&task, &told)?;
    // Sent again with its key it is there once, whether or not it was stored then.
    let accepted = post()?;
    ensure!((200..300).contains(&accepted.status), "{}", accepted.text);
    let once = "select count(*) from task_queue where payload->>'text' = 'echo in doubt'";
    ensure!(stage.postgres.number("own", once)? == 1);
    stage.stop()
}

#[test]
fn a_locked_table_is_told_and_what_waited_is_stored() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let task = stage.begin("one")?;
    let lock = "begin; lock table task_queue in access exclusive mode; select pg_sleep(100)";
    let told = std::thread::scope(|scope| {
        let holder = scope.spawn(|| stage.postgres.execute("own", lock));
        let locked = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted \
                      and relation = 'task_queue'::regclass";
        wait_for("the lock", || Ok((stage.postgres.number("own", locked)? > 0).then_some(())))?;
        stage.end("one")?;
        let told = stage.refuses_and_holds("lock timeout");
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where query = $$";
        stage.postgres.execute("own", &format!("{end}{lock}$$"))?;
        ensure!(holder.join().is_ok_and(|held| held.is_err()), "nobody held the lock to the end");
        told
    })?;
    stage.resumed(&task, &told)?;
    stage.stop()
}

/// What a lookup of events waits for while somebody holds the lock of that number; what writes does not.
const GATE: &str = "create function gate() returns boolean language plpgsql as $$ begin
        if current_setting('transaction_read_only') = 'on' then perform pg_advisory_xact_lock_shared(42); end if;
        return true;
    end $$;
    create policy gate on agent_events using (gate()) with check (true);
    alter table agent_events enable row level security, force row level security";

/// Whether `/readyz` counts the store among what fails.
fn fails_there(ready: &Answer) -> Result<bool> {
    let ready = ready.json()?;
    Ok(ready["failing"].as_array().context("what fails")?.iter().any(|name| name == "store"))
}

#[test]
fn lookups_that_take_all_their_connections_are_told_and_work_goes_on() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let http = stage.http()?;
    stage.postgres.execute("own", GATE)?;
    let shut = "select pg_advisory_lock(42); select pg_sleep(100)";
    let over = AtomicBool::new(false);
    let look = ["agents", "history", "misbehaving"];
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| stage.postgres.execute("own", shut));
        let locked = "select count(*) from pg_locks where locktype = 'advisory' and granted";
        wait_for("the lock", || Ok((stage.postgres.number("own", locked)? > 0).then_some(())))?;
        // More than there are connections.
        let lookups: Vec<_> = (0..10)
            .map(|_| {
                scope.spawn(|| {
                    let mut said = String::new();
                    while !over.load(Ordering::Relaxed) {
                        said.push_str(&fails(&stage.home, 75, &look)?);
                    }
                    Ok::<_, anyhow::Error>(said)
                })
            })
            .collect();
        let told = (|| {
            let store = stage.health("store", "degraded")?;
            ensure!(
                store["reason"].as_str().is_some_and(|why| why.contains("for lookups are in use")),
                "{store}"
            );
            ensure!(reply(&stage.home, "misbehaving", "echo well")? == "well");
            wait_for("/readyz to say so", || {
                let ready = http.get("/readyz")?;
                let told = ready.text.contains("for lookups are in use") && fails_there(&ready)?;
                Ok((ready.status == 503 && told).then_some(()))
            })?;
            wait_for("HTTP to say so", || {
                let events = http.get("/api/v1/events")?;
                ensure!(events.status == 503, "{}", events.text);
                Ok(events.text.contains("too busy to look anything up").then_some(()))
            })
        })();
        over.store(true, Ordering::Relaxed);
        let said: Result<Vec<_>> =
            lookups.into_iter().map(|one| one.join().map_err(|_| anyhow!("a panic"))?).collect();
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where query = $$";
        stage.postgres.execute("own", &format!("{end}{shut}$$"))?;
        ensure!(holder.join().is_ok_and(|held| held.is_err()), "nobody held the lock to the end");
        told?;
        let said = said?.concat();
        ensure!(said.contains("too busy to look anything up"), "{said}");
        Ok(())
    })?;
    stage.health("store", "ok")?;
    wait_for("/readyz to say so", || Ok((!fails_there(&http.get("/readyz")?)?).then_some(())))?;
    stage.home.ok(&look)?;
    stage.stop()
}

#[test]
fn a_server_without_free_connections_is_told() -> Result<()> {
    let Some(stage) = Stage::new()? else { return Ok(()) };
    let task = stage.begin("one")?;
    // Nobody gets in any more, and who is in is thrown out: as when others have taken all places.
    let out = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'worker'";
    stage.postgres.execute("postgres", &format!("alter role worker connection limit 0; {out}"))?;
    stage.end("one")?;
    let told = stage.refuses_and_holds("too many connections")?;
    stage.postgres.execute("postgres", "alter role worker connection limit -1")?;
    stage.resumed(&task, &told)?;
    stage.stop()
}

#[test]
fn alerts_that_waited_in_files_are_gone_from_there_only_once_they_are_stored() -> Result<()> {
    /// More than the store keeps in memory.
    const MANY: usize = 1_100;
    let home = Home::new(&quick(""), &["scout"])?;
    let folder = home.path().join("run/alerts");
    fs::create_dir_all(&folder)?;
    for number in 0..MANY {
        let alert = json!({
            "level": "warning", "text": format!("backup {number} failed"), "source": "cron",
            "key": format!("backup-{number}"), "at": chrono::Utc::now(),
        });
        fs::write(folder.join(format!("{number:05}.json")), alert.to_string())?;
    }
    let daemon = home.start_ready(&["scout"])?;
    wait_for("no file to be left", || Ok(fs::read_dir(&folder)?.next().is_none().then_some(())))?;
    let metrics = Http::of(&home, None)?.get("/metrics")?.text;
    assert!(metrics.contains(&format!("openclaw_alerts_open{{level=\"warning\"}} {MANY}\n")), "{metrics}");
    assert!(daemon.stop()?.success());
    Ok(())
}
