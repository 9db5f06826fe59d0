//! What a handler has time for: past `handler_timeout` its host is ended, with all that its agent does.

use std::time::Duration;

use openclaw_agent_api::chrono::{DateTime, TimeDelta, Utc};
use openclaw_agent_api::prelude::*;

/// Until half of it something is begun; the longest such thing leaves a twelfth for memory and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    begin_until: DateTime<Utc>,
    /// For one answer of a model, with all providers that are tried: 50 s of the default two minutes.
    pub model: Duration,
    /// For another agent's work: half a minute of them.
    pub agent: Duration,
}

impl Time {
    /// Of a message whose handler has just begun.
    pub fn of(ctx: &Context, message: &Message) -> Self {
        let all = message.time();
        let half = TimeDelta::from_std(all / 2).unwrap_or(TimeDelta::MAX);
        let begin_until = ctx.now().checked_add_signed(half).unwrap_or(DateTime::<Utc>::MAX_UTC);
        Self { begin_until, model: all * 5 / 12, agent: all / 4 }
    }

    /// Whether something may be begun now.
    pub fn may_begin(&self, ctx: &Context) -> bool {
        ctx.now() < self.begin_until
    }
}
