//! Everything that happens to a Redis.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::server::Server;
use super::{Running, fields, next, number, signal, status, subscribed, until};
use crate::{Bus, Channel, Heard, Subscription};

/// A call to a bus that is away takes far less than this.
const AT_ONCE: Duration = Duration::from_millis(200);
/// A call to a bus that hangs takes a second, and what a busy machine adds.
const BOUND: Duration = Duration::from_millis(2500);

/// Publishes until it is heard.
async fn heard_again(bus: &Running, subscription: &mut Subscription) -> Vec<Heard> {
    subscribed(subscription).await;
    until("a publish", async || bus.publish(Channel::SystemAlerts, signal(99)).await.ok()).await;
    let mut heard = Vec::new();
    while heard.last().and_then(number) != Some(99) {
        heard.push(next(subscription).await);
    }
    heard
}

async fn shown_again(bus: &Running) {
    let shown = fields(&[("state", "ready")]);
    until("a beat", async || bus.project(status("atlas"), shown.clone(), None).await.ok()).await;
    assert_eq!(bus.read(&status("atlas")).await, Ok(Some(shown)));
}

#[tokio::test]
async fn what_was_flushed_is_shown_again_at_the_next_beat() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    subscribed(&mut subscription).await;
    shown_again(&bus).await;
    server.tell(&["FLUSHALL"]);
    assert_eq!(bus.read(&status("atlas")).await, Ok(None));
    shown_again(&bus).await;
    bus.publish(Channel::SystemAlerts, signal(1)).await.unwrap();
    assert_eq!(number(&next(&mut subscription).await), Some(1));
}

#[tokio::test]
async fn a_killed_server_costs_signals_and_nothing_else() {
    let Some(mut server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    subscribed(&mut subscription).await;
    for _ in 0..3 {
        server.kill();
        bus.told("is away").await;
        let began = Instant::now();
        for _ in 0..100 {
            bus.publish(Channel::SystemAlerts, signal(1)).await.unwrap_err();
            bus.project(status("atlas"), fields(&[("a", "b")]), None).await.unwrap_err();
            bus.read(&status("atlas")).await.unwrap_err();
        }
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        server.start_again();
        bus.well().await;
        let heard = heard_again(&bus, &mut subscription).await;
        assert_eq!(heard[0], Heard::Missed(None), "nobody told that something may have been missed");
        shown_again(&bus).await;
    }
}

#[tokio::test]
async fn a_server_that_comes_late_is_found() {
    let Some(mut server) = Server::start(&[]) else { return };
    server.kill();
    let bus = Running::on(server.port);
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    let told = bus.told("refused").await;
    assert!(told.starts_with(&format!("Redis at redis://127.0.0.1:{} is away: ", server.port)), "{told}");
    assert!(bus.health().last_ok.is_none());
    server.start_again();
    // Nothing was heard before, so that nothing is missed.
    let heard = heard_again(&bus, &mut subscription).await;
    assert_eq!(heard.len(), 1, "{heard:?}");
    bus.well().await;
    assert!(bus.health().last_ok.is_some());
    assert!(bus.health().what.starts_with("Redis "), "{}", bus.health().what);
}

#[tokio::test]
async fn one_that_sleeps_holds_nobody_longer_than_the_bound() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    subscribed(&mut subscription).await;
    let _sleeping = server.say(&["DEBUG", "SLEEP", "3"]);
    let began = Instant::now();
    let told = until("the sleep", async || bus.publish(Channel::SystemAlerts, signal(1)).await.err()).await;
    assert!(told.to_string().contains("has not answered within 1s"), "{told}");
    assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
    let began = Instant::now();
    bus.publish(Channel::SystemAlerts, signal(1)).await.unwrap_err();
    assert!(began.elapsed() < AT_ONCE, "the second waits as well: {:?}", began.elapsed());
    bus.well().await;
    heard_again(&bus, &mut subscription).await;
    shown_again(&bus).await;
}

#[tokio::test]
async fn one_that_was_stopped_for_longer_is_known_and_found_again() {
    use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    subscribed(&mut subscription).await;
    server.signal(SIGSTOP);
    // Nobody publishes: the bus finds it out by itself, on both lines, and tries again.
    bus.told("has not answered within 3s").await;
    server.signal(SIGCONT);
    bus.well().await;
    heard_again(&bus, &mut subscription).await;
    shown_again(&bus).await;
}

#[tokio::test]
async fn connections_that_an_operator_kills_come_back() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    subscribed(&mut subscription).await;
    for kind in ["normal", "pubsub", "pubsub", "normal"] {
        assert_eq!(server.tell(&["CLIENT", "KILL", "TYPE", kind]), ":1", "{kind}");
        if kind == "pubsub" {
            assert_eq!(next(&mut subscription).await, Heard::Missed(None));
        }
        heard_again(&bus, &mut subscription).await;
        shown_again(&bus).await;
        bus.well().await;
    }
    let clients = server.tell(&["CLIENT", "LIST"]);
    assert_eq!(clients.matches("name=openclaw:").count(), 2, "{clients}");
}

#[tokio::test]
async fn one_that_accepts_and_never_answers_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bus = Running::on(listener.local_addr().unwrap().port());
    let mut subscription = bus.subscribe(Channel::SystemAlerts);
    let began = Instant::now();
    bus.publish(Channel::SystemAlerts, signal(1)).await.unwrap_err();
    assert!(began.elapsed() < AT_ONCE);
    let told = bus.told("has not answered within 3s").await;
    assert!(told.ends_with("see whether it is overloaded or stopped"), "{told}");
    assert!(tokio::time::timeout(Duration::from_millis(10), subscription.subscribed()).await.is_err());
}

#[tokio::test]
async fn one_that_talks_nonsense_or_hangs_up_is_away() {
    use tokio::io::AsyncWriteExt;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bus = Running::on(listener.local_addr().unwrap().port());
    let mut told = Vec::new();
    for answer in ["HTTP/1.1 400 Bad Request\r\n\r\n", "", "%1\r\n", "+OK\r\n+OK\r\n"] {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(answer.as_bytes()).await;
        drop(stream);
        let error = bus.health().error;
        told.push(error.expect("it is connected to nonsense"));
    }
    assert!(told.iter().all(|error| !error.contains('\n')), "{told:?}");
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_refused_until_it_is_one_again() {
    let Some(server) = Server::start(&[]) else { return };
    let bus = Running::on(server.port).up().await;
    server.tell(&["REPLICAOF", "127.0.0.1", "1"]);
    let told = bus.project(status("atlas"), fields(&[("a", "b")]), None).await.unwrap_err();
    assert!(told.to_string().ends_with("name the primary in [bus] `url`"), "{told}");
    bus.told("is a replica, which only reads").await;
    server.tell(&["REPLICAOF", "NO", "ONE"]);
    bus.well().await;
    shown_again(&bus).await;
}
