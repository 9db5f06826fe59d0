//! How fast messages go.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use openclaw_tests::built;
use openclaw_tests::daemon::Home;
use openclaw_tests::socket::{Socket, message};
use settings::Sandbox;
use supervisor::process::{Process, Program};
use supervisor::wire::{Decoder, FromHost, ToHost, encode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::Options;
use crate::row::{Bound, Row};

pub const ROUND_TRIP: &str = "supervisor ↔ agent host round trip, 256 B";
pub const ONE_MESSAGE: &str = "durable message, accepted → done, one at a time";
pub const SUSTAINED: &str = "durable messages through one agent, sustained";
pub const ONE_MESSAGE_SERVER: &str = "the same on PostgreSQL, one at a time";
pub const SUSTAINED_SERVER: &str = "the same on PostgreSQL, sustained";

/// Of the round trip.
const PAD: usize = 256;
/// That are pinged.
const HOSTS: usize = 10;
/// Requests under way at once while messages are sustained: as many as the daemon reads ahead of one connection.
const WINDOW: usize = 1024;
/// Of each message.
const PATIENCE_MS: u64 = 60_000;

/// A real host that has a library open, and a supervisor's end of its wire.
struct Host {
    process: Process,
    socket: UnixStream,
    decoder: Decoder,
    out: Vec<u8>,
    chunk: Vec<u8>,
}

/// From a ping's encoding to its decoded answer. With several hosts one after the other: how the kernel spreads two
/// processes over the cores decides as much as they do, and it decides once for each.
pub fn round_trip(options: &Options) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut samples = Vec::new();
    for _ in 0..HOSTS {
        samples.extend(runtime.block_on(pings(options.samples(20_000 / HOSTS)))?);
    }
    Ok(vec![Row::new(ROUND_TRIP, "µs", &[Bound::Median(10.0)], samples)])
}

async fn pings(n: usize) -> Result<Vec<f64>> {
    let folder = tempfile::tempdir()?;
    let mut host = Host::start(folder.path()).await?;
    let (mut samples, pad) = (Vec::new(), "x".repeat(PAD));
    let warm_up = 500;
    for round in 0..warm_up + n {
        let (seq, pad) = (round as u64, pad.clone());
        let began = Instant::now();
        host.say(&ToHost::Ping { seq, pad }).await?;
        match host.hear().await? {
            FromHost::Pong { seq: back, pad } if back == seq && pad.len() == PAD => {}
            other => bail!("no answer to ping {seq}: {other:?}"),
        }
        if round >= warm_up {
            samples.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    host.process.reap().await;
    Ok(samples)
}

impl Host {
    async fn start(folder: &std::path::Path) -> Result<Self> {
        let lock = folder.join("hosts.lock");
        std::fs::write(&lock, "")?;
        let program = Program { path: built()?.join("openclaw"), args: vec!["agent-host".into()] };
        let (process, streams) = Process::spawn(&program, "misbehaving", folder)?;
        let (decoder, out, chunk) = (Decoder::default(), Vec::new(), vec![0; 16 * 1024]);
        let mut host = Self { process, socket: streams.socket, decoder, out, chunk };
        let library = built()?.join("libmisbehaving.so");
        // No daemon watches here.
        let (sandbox, workspace) = (Sandbox::Off, folder.into());
        let (concurrency, memory_limit, log_rate) = (4, 512 << 20, 200);
        let shown = library.clone();
        host.say(&ToHost::Open {
            library,
            shown,
            concurrency,
            memory_limit,
            lock,
            log_rate,
            sandbox,
            workspace,
            ask_time: false,
            uploads: std::path::PathBuf::new(),
        })
        .await?;
        let FromHost::Sandboxed { .. } = host.hear().await? else { bail!("the host is not sandboxed") };
        let FromHost::Hello { .. } = host.hear().await? else { bail!("the host has not said hello") };
        host.say(&ToHost::Create { settings: serde_json::value::to_raw_value(&serde_json::json!({}))? })
            .await?;
        let FromHost::Ready = host.hear().await? else { bail!("the host is not ready") };
        Ok(host)
    }

    async fn say(&mut self, message: &ToHost) -> Result<()> {
        encode(message, &mut self.out)?;
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    async fn hear(&mut self) -> Result<FromHost> {
        loop {
            if let Some(message) = self.decoder.frame()? {
                return Ok(message);
            }
            match self.socket.read(&mut self.chunk).await? {
                0 => bail!("the host is gone"),
                read => self.decoder.extend(&self.chunk[..read]),
            }
        }
    }
}

/// Messages on SQLite.
pub fn messages(options: &Options) -> Result<Vec<Row>> {
    let (one, sustained) = through_an_agent(options, [ONE_MESSAGE, SUSTAINED], "")?;
    Ok(vec![
        Row::new(ONE_MESSAGE, "ms", &[Bound::Median(1.0)], one),
        Row::new(SUSTAINED, "messages/s", &[Bound::Least(10_000.0)], sustained),
    ])
}

/// A PostgreSQL server of a benchmark's own, in `folder`, that syncs as in life: what a configuration says of it.
pub fn server(folder: &std::path::Path) -> Result<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
    let mut start = std::process::Command::new(script);
    let start = start.env("FSYNC", "on").arg(std::process::id().to_string()).arg(folder);
    let server = start.output().context("scripts/postgres does not run")?;
    if !server.status.success() {
        bail!("there is no PostgreSQL: {}", String::from_utf8_lossy(&server.stderr).trim());
    }
    let url = format!("{}&dbname=postgres", String::from_utf8(server.stdout)?.trim());
    Ok(format!("[database]\nurl = \"{url}\"\n"))
}

/// Messages on a PostgreSQL server that is started for it.
pub fn messages_on_a_server(options: &Options) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp")?;
    let database = server(folder.path())?;
    let (one, sustained) = through_an_agent(options, [ONE_MESSAGE_SERVER, SUSTAINED_SERVER], &database)?;
    Ok(vec![
        Row::new(ONE_MESSAGE_SERVER, "ms", &[Bound::Median(3.0)], one),
        Row::new(SUSTAINED_SERVER, "messages/s", &[Bound::Least(5_000.0)], sustained),
    ])
}

/// Messages to an agent that replies what it is told, over the operator's socket, each answered when its end is
/// durable: how long each takes alone, and how many there are in each second.
fn through_an_agent(options: &Options, names: [&str; 2], config: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let home = Home::new(&format!("{config}[agents.misbehaving]\nconcurrency = 64\n"), &["misbehaving"])?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let mut socket = home.socket()?;
    let (mut one, mut sustained) = (Vec::new(), Vec::new());
    if options.wants(names[0]) {
        one = one_at_a_time(&mut socket, options.samples(1000))?;
    }
    if options.wants(names[1]) {
        sustained = flood(&mut socket, options.sustained())?;
    }
    daemon.stop()?;
    Ok((one, sustained))
}

/// From the request's writing to the answer: two commits, one for its acceptance and one for its end.
fn one_at_a_time(socket: &mut Socket, n: usize) -> Result<Vec<f64>> {
    let warm_up = 50;
    let mut samples = Vec::new();
    for round in 0..warm_up + n {
        let text = format!("echo {round}");
        let began = Instant::now();
        let answer = socket.call(message("misbehaving", &text, None, Some(PATIENCE_MS)))?;
        let took = began.elapsed();
        check(answer.map_err(|error| anyhow!("a message was refused: {error}"))?, round)?;
        if round >= warm_up {
            samples.push(took.as_secs_f64() * 1e3);
        }
    }
    Ok(samples)
}

/// Messages that ended in each second, after one that does not count; as many are under way as one connection may
/// have, and each answer makes room for the next.
fn flood(socket: &mut Socket, length: Duration) -> Result<Vec<f64>> {
    let mut asked = HashMap::new();
    let mut next = 0;
    let mut send = |socket: &mut Socket, many: usize, asked: &mut HashMap<u64, usize>| {
        let rounds = next..next + many;
        next += many;
        let asks = rounds
            .clone()
            .map(|round| message("misbehaving", &format!("echo {round}"), None, Some(PATIENCE_MS)));
        asked.extend(socket.asks(asks)?.into_iter().zip(rounds));
        anyhow::Ok(())
    };
    send(socket, WINDOW, &mut asked)?;
    let began = Instant::now();
    let seconds = length.as_secs() as usize;
    let mut ended = vec![0.0; seconds + 1];
    let mut room = 0;
    while !asked.is_empty() {
        let (id, answer) = socket.answer()?;
        let round = asked.remove(&id).context("an answer to nothing")?;
        check(answer.map_err(|error| anyhow!("a message was refused: {error}"))?, round)?;
        let second = began.elapsed().as_secs() as usize;
        if let Some(count) = ended.get_mut(second) {
            *count += 1.0;
            room += 1;
            // Not a write for each: the client's share of two cores is taken from the daemon.
            if room >= WINDOW / 32 {
                send(socket, room, &mut asked)?;
                room = 0;
            }
        }
    }
    Ok(ended.split_off(1))
}

/// The answer must be this message's.
fn check(answer: serde_json::Value, round: usize) -> Result<()> {
    let text = answer["result"]["text"].as_str();
    match text.and_then(|text| text.parse::<usize>().ok()) {
        Some(back) if back == round && answer["state"] == "done" => Ok(()),
        _ => bail!("message {round} was answered {answer}"),
    }
}
