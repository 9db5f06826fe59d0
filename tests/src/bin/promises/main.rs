//! Every number of the design's section 10 that this version can have: the promise beside the measurement.
//!
//! It starts everything itself, in temporary homes, speaks over Unix sockets only, and leaves no process. Run it with
//! `scripts/bench`, which builds the release that it measures. A promise without a percentile is held at the median,
//! one of memory, size or idle work at its worst.

mod agents;
mod failover;
mod footprint;
mod heartbeats;
mod http;
mod lifecycle;
mod measure;
mod providers;
mod reload;
mod row;
mod telegram;
mod traffic;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;

use row::Row;

/// Measures what is promised; fails where a promise is missed by more than a factor of two.
#[derive(Parser)]
#[command(name = "scripts/bench")]
pub struct Options {
    /// One line of JSON per promise.
    #[arg(long)]
    json: bool,
    /// Only those whose name contains this.
    #[arg(long, value_name = "SUBSTRING")]
    only: Option<String>,
    /// Fewer samples: a look, not a verdict.
    #[arg(long)]
    quick: bool,
    /// For how many seconds messages are sent through one agent.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    sustain: u64,
}

impl Options {
    /// So many samples, or with `--quick` a tenth.
    fn samples(&self, full: usize) -> usize {
        if self.quick { full.div_ceil(10) } else { full }
    }

    fn sustained(&self) -> Duration {
        Duration::from_secs(if self.quick { 1 } else { self.sustain.max(1) })
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|part| name.contains(part))
    }
}

/// What is measured in one go, by the names of its rows.
struct Benchmark {
    rows: &'static [&'static str],
    run: fn(&Options) -> Result<Vec<Row>>,
}

const BENCHMARKS: [Benchmark; 23] = [
    Benchmark { rows: &[lifecycle::RESTART], run: lifecycle::restart },
    Benchmark {
        rows: &[lifecycle::FRESH, lifecycle::AGAIN, lifecycle::STOP],
        run: lifecycle::start_and_stop,
    },
    Benchmark { rows: &[footprint::RSS, footprint::ANON, footprint::HOST], run: footprint::memory },
    Benchmark { rows: &[footprint::BINARY], run: footprint::binary },
    Benchmark { rows: &[traffic::ROUND_TRIP], run: traffic::round_trip },
    Benchmark { rows: &[traffic::ONE_MESSAGE, traffic::SUSTAINED], run: traffic::messages },
    Benchmark { rows: &[reload::PAUSE], run: reload::pauses },
    Benchmark { rows: &[reload::COPY], run: reload::copy },
    Benchmark {
        rows: &[traffic::ONE_MESSAGE_SERVER, traffic::SUSTAINED_SERVER],
        run: traffic::messages_on_a_server,
    },
    Benchmark { rows: &[failover::FAILOVER], run: failover::failover },
    Benchmark { rows: &[heartbeats::HEARTBEATS], run: heartbeats::heartbeats },
    Benchmark { rows: &[http::ROUND_TRIP], run: http::round_trip },
    Benchmark { rows: &[http::ACCEPTED, http::ACCEPTANCE], run: http::accepted },
    Benchmark { rows: &[http::HEALTHZ], run: http::healthz },
    Benchmark { rows: &[http::GROWTH], run: http::growth },
    Benchmark { rows: &[http::GROWTH_SERVER], run: http::growth_on_a_server },
    Benchmark { rows: &[telegram::ANSWER], run: telegram::answer },
    Benchmark { rows: &[providers::ADDED], run: providers::added },
    Benchmark { rows: &[providers::HELD], run: providers::held },
    Benchmark { rows: &[providers::FAILOVER], run: providers::failover },
    Benchmark { rows: &[providers::OPEN], run: providers::open },
    Benchmark { rows: &[agents::ANALYZE], run: agents::analyze },
    Benchmark { rows: &[footprint::CROWD], run: footprint::crowd },
];

fn main() -> ExitCode {
    let options = Options::parse();
    eprintln!("{}", measure::machine());
    let (mut rows, mut failed) = (Vec::new(), false);
    for benchmark in BENCHMARKS.iter().filter(|b| b.rows.iter().any(|name| options.wants(name))) {
        eprintln!("… {}", benchmark.rows.join(", "));
        match (benchmark.run)(&options) {
            Ok(measured) => rows.extend(measured.into_iter().filter(|row| options.wants(row.name))),
            Err(error) => {
                eprintln!("scripts/bench: {} could not be measured: {error:#}", benchmark.rows.join(", "));
                failed = true;
            }
        }
    }
    eprintln!("{}", measure::machine());
    let text = if options.json { row::lines(&rows) } else { row::table(&rows) };
    // A closed pipe is the reader's choice.
    let _ = std::io::stdout().write_all(text.as_bytes());
    for row in rows.iter().filter(|row| row.off() > 2.0) {
        eprintln!("scripts/bench: `{}` is missed by a factor of {:.1}", row.name, row.off());
        failed = true;
    }
    ExitCode::from(u8::from(failed))
}
