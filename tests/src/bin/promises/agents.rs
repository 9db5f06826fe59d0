//! What the team's own agents take for their work.

use std::time::Instant;

use anyhow::{Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::agent::{Agent, Message};
use openclaw_agent_api::context::Context;
use openclaw_agent_api::testkit::TestHost;
use scout::Scout;
use serde_json::{Value, json};

use crate::Options;
use crate::row::{Bound, Row};

pub const ANALYZE: &str = "scout: 100,000 points, read and analyzed (in-process: 5 MB, over max_payload)";

/// From the message's text to the reply: reading the JSON is most of it.
pub fn analyze(options: &Options) -> Result<Vec<Row>> {
    let now = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::days(20_000);
    // The last of them now; some steps are longer than usual, and a jump ends them: all are read, and a signal is sent.
    let at = |n: i64| now - TimeDelta::milliseconds(800 * (99_999 - n) - if n % 10 == 3 { 400 } else { 0 });
    let price = |n: i64| if n == 99_999 { 150.0 } else { 100.0 + (n % 7) as f64 };
    let prices: Vec<_> = (0..100_000).map(|n| json!({"at": at(n), "price": price(n)})).collect();
    let message = Message {
        task_id: "1".into(),
        text: format!("/analyze {}", json!({"venue": "v", "asset": "a", "prices": prices})),
        data: Value::Null,
        session: None,
        source: "bench".into(),
        attempt: 1,
        accepted_at: now,
        timeout_ms: None,
    };
    let host = TestHost::default().at(now);
    let scout = Scout::create(json!({})).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut samples = Vec::new();
    for round in 0..5 + options.samples(200) {
        let began = Instant::now();
        let reply = scout.handle(&Context::new(&host, None), &message);
        let took = began.elapsed();
        let reply = reply.map_err(|error| anyhow::anyhow!("{error}"))?;
        ensure!(reply.data["points"] == 100_000 && reply.data["signals"][0].is_object(), "{}", reply.text);
        if round >= 5 {
            samples.push(took.as_secs_f64() * 1e3);
        }
    }
    Ok(vec![Row::new(ANALYZE, "ms", &[Bound::Median(50.0)], samples)])
}
