//! One connection: its requests one after another, until it is let go.

use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::body::Guarded;
use super::{Door, Drain, answer};
use crate::listen::unread_limit;

/// The largest head of a request, give or take what is read at once, which is as much.
const HEAD: usize = 32 * 1024;
/// The most headers of a request.
const HEADERS: usize = 64;
/// How long a peer may take nothing of what it is sent.
const UNREAD: Duration = Duration::from_secs(30);
/// A newcomer may take so long to say what it wants before it counts as idle: a request comes with its connection, or as
/// soon as its sender's machine gets to it. So ten thousand who say nothing hold up others for seconds at the most.
pub(crate) const GRACE: Duration = Duration::from_millis(100);
/// A connection that has been answered may take so long to send the last bytes when the daemon ends.
const FLUSH: Duration = Duration::from_millis(20);

/// A connection, as others see it.
pub(crate) struct Seat {
    pub door: Arc<Door>,
    pub peer: SocketAddr,
    taken: Instant,
    busy: AtomicBool,
    /// Milliseconds after it was taken; 0: nothing was asked yet.
    idle_since: AtomicU64,
    leave: Notify,
}

impl Seat {
    pub fn new(door: Arc<Door>, peer: SocketAddr) -> Self {
        let (busy, idle_since) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { door, peer, taken: Instant::now(), busy, idle_since, leave: Notify::new() }
    }

    /// Since when it has nothing in work; none: it has.
    pub fn idle_since(&self) -> Option<Instant> {
        let idle = || self.taken + Duration::from_millis(self.idle_since.load(Ordering::Relaxed));
        (!self.busy.load(Ordering::Relaxed)).then(idle)
    }

    /// Whether it is about to say what it wants.
    pub fn is_new(&self) -> bool {
        self.idle_since.load(Ordering::Relaxed) == 0 && self.taken.elapsed() < GRACE
    }

    /// Closes it, unless it has something in work by now.
    pub fn leave(&self) {
        self.leave.notify_one();
    }
}

/// A request in work, until its answer has been written.
pub(crate) struct InWork(Arc<Seat>);

impl InWork {
    fn new(seat: Arc<Seat>) -> Self {
        seat.busy.store(true, Ordering::Relaxed);
        seat.door.began();
        Self(seat)
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        let idle_since = u64::try_from(self.0.taken.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.0.idle_since.store(idle_since, Ordering::Relaxed);
        self.0.busy.store(false, Ordering::Relaxed);
        self.0.door.answered();
        self.0.door.became_idle.notify_one();
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(stream: TcpStream, seat: Arc<Seat>, mut drain: watch::Receiver<Drain>) {
    // Where these cannot be set, an answer is slower, or its reader is waited for longer.
    let _ = stream.set_nodelay(true);
    let _ = unread_limit(&stream, UNREAD.as_millis() as u32);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (seat, in_work) = (seat.clone(), InWork::new(seat.clone()));
        async move {
            let response = answer::answer(&seat, request).await;
            Ok::<_, std::convert::Infallible>(response.map(|body| Guarded::new(body, in_work)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(seat.door.settings.request_timeout)
        .max_headers(HEADERS)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            // Whatever went wrong went wrong at the other end, or was answered.
            _ = connection.as_mut() => return,
            () = seat.leave.notified() => {
                if seat.idle_since().is_some() {
                    return;
                }
            }
            _ = drain.wait_for(|drain| *drain != Drain::Open), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = quiet(&seat), if stopping => return,
        }
    }
}

/// Returns once a connection has had nothing in work for a while: it sends nothing that anybody waits for.
async fn quiet(seat: &Seat) {
    loop {
        match seat.idle_since() {
            Some(since) if since.elapsed() >= FLUSH => return,
            Some(since) => tokio::time::sleep_until(since + FLUSH).await,
            // It ends with its answer, for no more requests are taken from it.
            None => pending().await,
        }
    }
}
