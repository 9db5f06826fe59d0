//! How fast HTTP is, and that it keeps nothing.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::http::Http;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Options;
use crate::measure::{megabytes, pause};
use crate::row::{Bound, Row};
use crate::traffic::server;

pub const ROUND_TRIP: &str = "HTTP message with wait, accepted → result, on PostgreSQL";
pub const ACCEPTED: &str = "HTTP messages accepted, 64 connections, on PostgreSQL";
pub const ACCEPTANCE: &str = "the same, each from request to 202";
pub const HEALTHZ: &str = "/healthz, 64 connections";
pub const GROWTH: &str = "RSS after 100,000 HTTP messages, above that after 10,000";
pub const GROWTH_SERVER: &str = "RSS after 100,000 HTTP messages, above that after 10,000, on PostgreSQL";

const TOKEN: &str = "operator-0123456789abcdef";
const CONNECTIONS: usize = 64;

/// A home with a token and an agent that says what it is told; and where it is reached.
fn start(database: &str) -> Result<(Home, Daemon, SocketAddr)> {
    let home = Home::new(
        &format!("{database}[gateway]\nrate = 1000000\n[agents.misbehaving]\nconcurrency = 64\n"),
        &["misbehaving"],
    )?;
    let secrets = home.path().join("config/.env");
    std::fs::write(&secrets, format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}\n"))?;
    std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let address = Http::of(&home, None)?.address;
    Ok((home, daemon, address))
}

/// A connection that is kept, with one request at a time.
struct Line {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Line {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// A request and its answer: the status and the body.
    async fn ask(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        self.stream.write_all(request).await?;
        loop {
            if let Some(answer) = self.arrived()? {
                return Ok(answer);
            }
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the daemon closed the connection");
        }
    }

    fn arrived(&mut self) -> Result<Option<(u16, Vec<u8>)>> {
        let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&self.read[..end])?;
        let status = head.get(9..12).context("a status")?.parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let whole = end + 4 + length.context("a length")?.parse::<usize>()?;
        if self.read.len() < whole {
            return Ok(None);
        }
        let body = self.read[end + 4..whole].to_vec();
        self.read.drain(..whole);
        Ok(Some((status, body)))
    }
}

fn message(text: &str, query: &str) -> Vec<u8> {
    let body = format!("{{\"agent\":\"misbehaving\",\"text\":\"{text}\"}}");
    format!(
        "POST /api/v1/messages{query} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// From the request's writing to the result, one at a time.
pub fn round_trip(options: &Options) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp")?;
    let (_home, daemon, address) = start(&server(folder.path())?)?;
    let (warm_up, n) = (50, options.samples(1000));
    let samples = runtime()?.block_on(async {
        let (mut line, mut samples) = (Line::connect(address).await?, Vec::new());
        for round in 0..warm_up + n {
            let request = message(&format!("echo {round}"), "?wait=30s");
            let began = Instant::now();
            let (status, body) = line.ask(&request).await?;
            let took = began.elapsed();
            let answer: Value = serde_json::from_slice(&body)?;
            let text = answer["result"]["text"].as_str();
            ensure!(status == 200 && text == Some(&round.to_string()), "message {round}: {status} {answer}");
            if round >= warm_up {
                samples.push(took.as_secs_f64() * 1e3);
            }
        }
        anyhow::Ok(samples)
    })?;
    daemon.stop()?;
    Ok(vec![Row::new(ROUND_TRIP, "ms", &[Bound::Median(5.0)], samples)])
}

/// Messages that are accepted in each second on all connections, after one that does not count, while the agent works
/// them off; and how long each took.
pub fn accepted(options: &Options) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp")?;
    let (_home, daemon, address) = start(&server(folder.path())?)?;
    let taken = runtime()?.block_on(crowd(address, message("echo x", ""), 202, options.sustained()))?;
    daemon.stop()?;
    let each = taken.iter().flatten().map(|took| took.as_secs_f64() * 1e3).collect();
    let rates = taken.iter().map(|second| second.len() as f64).collect();
    Ok(vec![
        Row::new(ACCEPTED, "messages/s", &[Bound::Least(2_000.0)], rates),
        Row::new(ACCEPTANCE, "ms", &[Bound::P99(100.0)], each),
    ])
}

/// Whether the loop turns, asked as often as it can be.
pub fn healthz(options: &Options) -> Result<Vec<Row>> {
    let (_home, daemon, address) = start("")?;
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
    let taken = runtime()?.block_on(crowd(address, request, 200, options.sustained()))?;
    daemon.stop()?;
    let rates = taken.iter().map(|second| second.len() as f64).collect();
    Ok(vec![Row::new(HEALTHZ, "requests/s", &[Bound::Least(20_000.0)], rates)])
}

/// The same request on all connections, again and again; how long each took, by the second in which it was answered.
async fn crowd(
    address: SocketAddr,
    request: Vec<u8>,
    wanted: u16,
    length: Duration,
) -> Result<Vec<Vec<Duration>>> {
    let (began, seconds) = (Instant::now(), length.as_secs() as usize);
    let mut lines = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let request = request.clone();
        lines.spawn(async move {
            let (mut line, mut taken) = (Line::connect(address).await?, vec![Vec::new(); seconds + 1]);
            loop {
                let asked = Instant::now();
                let (status, body) = line.ask(&request).await?;
                if status != wanted {
                    bail!("answered {status}: {}", String::from_utf8_lossy(&body));
                }
                match taken.get_mut(began.elapsed().as_secs() as usize) {
                    Some(second) => second.push(asked.elapsed()),
                    None => return anyhow::Ok(taken),
                }
            }
        });
    }
    let mut all = vec![Vec::new(); seconds + 1];
    while let Some(taken) = lines.join_next().await {
        all.iter_mut().zip(taken??).for_each(|(all, one)| all.extend(one));
    }
    Ok(all.split_off(1))
}

/// What stays in memory of 90,000 messages more, each waited for, in per cent. As many with `--quick`: fewer say nothing of it.
pub fn growth(_: &Options) -> Result<Vec<Row>> {
    grown("", GROWTH)
}

/// The same on a PostgreSQL server that is started for it.
pub fn growth_on_a_server(_: &Options) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("pg").tempdir_in("/tmp")?;
    grown(&server(folder.path())?, GROWTH_SERVER)
}

fn grown(database: &str, name: &'static str) -> Result<Vec<Row>> {
    let (_home, daemon, address) = start(database)?;
    let resident = || {
        pause(Duration::from_secs(1));
        megabytes(daemon.pid(), "status", &["VmRSS"])
    };
    let runtime = runtime()?;
    runtime.block_on(send(address, 10_000))?;
    let before = resident()?;
    runtime.block_on(send(address, 90_000))?;
    let after = resident()?;
    daemon.stop()?;
    Ok(vec![Row::new(name, "%", &[Bound::Most(20.0)], vec![100.0 * (after - before) / before])])
}

/// So many messages on all connections, each answered.
async fn send(address: SocketAddr, many: usize) -> Result<()> {
    let mut lines = JoinSet::new();
    for _ in 0..CONNECTIONS {
        lines.spawn(async move {
            let (mut line, request) = (Line::connect(address).await?, message("echo x", "?wait=60s"));
            for _ in 0..many.div_ceil(CONNECTIONS) {
                let (status, body) = line.ask(&request).await?;
                ensure!(status == 200, "answered {status}: {}", String::from_utf8_lossy(&body));
            }
            anyhow::Ok(())
        });
    }
    while let Some(sent) = lines.join_next().await {
        sent??;
    }
    Ok(())
}
