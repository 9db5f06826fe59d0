//! What a thousand agents cost: their beats, and the bridge that watches them. Run by hand:
//! `cargo test --release -p workers -- --ignored --nocapture cost`

use std::collections::BTreeSet;

use bus::{Address, Channel, Envelope, RedisBus};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::super::look;
use super::server::Server;
use super::*;

const ROUNDS: u32 = 50;

fn used() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}

#[tokio::test]
#[ignore = "a measurement"]
async fn cost_of_a_thousand_agents_and_their_bridge() {
    let Some(server) = Server::start(&[]) else { return };
    let address = Address::Tcp { host: "127.0.0.1".into(), port: server.port, tls: false };
    let (bus, service) = RedisBus::new(bus::Options::at(address));
    let mut tasks = JoinSet::new();
    tasks.spawn(service.run());
    let start = Utc::now();
    while !bus.health().connected {
        tokio::task::yield_now().await;
    }
    let ttl = Some(Duration::from_secs(30));
    let beats = |round: u32| -> Vec<Projection> {
        let fields = beat(start + Duration::from_secs(round.into())).to_fields();
        let one = |n| Projection {
            key: Key::AgentStatus(agent(&format!("agent-{n}"))),
            fields: fields.clone(),
            ttl,
        };
        (0..1000).map(one).collect()
    };
    let mut state = State::new(Duration::from_secs(1));
    let (mut spent, names) = ([Duration::ZERO; 4], ["beats", "reading", "deciding", "relaying"]);
    for round in 0..ROUNDS {
        let now = start + Duration::from_secs(round.into());
        let steps = [used()];
        bus.project_all(beats(round)).await.unwrap();
        let shown = used();
        let wanted: BTreeSet<_> = state.agents().cloned().collect();
        let seen = look::team(&bus, wanted).await.unwrap();
        let read = used();
        let look = Look { seen: Some(seen), known: BTreeSet::new(), leads: true };
        let (next, effects) = decide(state, &look, now);
        state = next;
        let standings = state.standings();
        let decided = used();
        assert_eq!((standings.len(), effects.signals.len()), (1000, 1000));
        let envelope = |signal: &Signal| {
            let data = serde_json::to_value(&signal.standing).unwrap();
            Envelope::new(NAME, "heartbeat.fresh", data, now)
        };
        let envelopes = effects.signals.iter().map(envelope).collect();
        bus.publish_all(Channel::AgentHeartbeat, envelopes).await.unwrap();
        let told = used();
        for (spent, (from, to)) in
            spent.iter_mut().zip([(steps[0], shown), (shown, read), (read, decided), (decided, told)])
        {
            *spent += to - from;
        }
    }
    let percent = |spent: Duration| spent.as_secs_f64() / f64::from(ROUNDS) * 100.0;
    for (name, spent) in names.iter().zip(spent) {
        println!("1,000 agents a second, {name}: {:.1} % of a core", percent(spent));
    }
    println!("in all: {:.1} % of a core", percent(spent.iter().sum()));
}
