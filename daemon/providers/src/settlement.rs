//! What a try may take is reserved before it, and what it took is settled behind it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openclaw_agent_api::AgentName;
use store::Store;
use store::ledger::{self, ABANDONED, Entered, Entry, NewCall, Share, UNDER_WAY};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

use crate::budget::{self, Cost};
use crate::chat::Tokens;
use crate::exchange::{Refusal, over};
use crate::service::Inner;

/// While the store is away, between two tries to settle.
pub(crate) const AGAIN: Duration = Duration::from_millis(500);
/// Settlements that are entered at once.
const AT_ONCE: usize = 256;

/// What the operator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// About whom; none: about all.
    pub agent: Option<AgentName>,
    /// How much it matters.
    pub level: Level,
    /// What it is about: the same is told of once, and counted.
    pub key: String,
    /// What happened and what to do, in a sentence.
    pub text: String,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What was told of under this key is over; where nothing was, this is no news.
    Over,
    /// It was dealt with.
    Warning,
    /// Somebody must do something.
    Critical,
}

/// What is left to be done behind a try.
pub(crate) struct Settlement {
    /// The caller went away while this was waited for: what was reserved, if it was, is given back.
    reserving: Option<oneshot::Receiver<Result<Entered, store::Error>>>,
    reserved: Vec<Share>,
    used: Vec<i64>,
    call: Box<NewCall>,
    notices: Vec<Notice>,
}

/// Settles what calls have used, and tells of what somebody should hear of.
pub struct Service {
    pub(crate) store: Store,
    pub(crate) settlements: mpsc::Receiver<Settlement>,
    pub(crate) closing: Arc<Notify>,
}

impl Inner {
    /// Reserves what a try may take, in all budgets that are about it.
    pub async fn reserve(
        &self,
        (agent, capability): (&AgentName, &'static str),
        provider: &str,
        model: Option<String>,
        cost: Cost,
    ) -> Result<Flight, Refusal> {
        let most = self.calls.max_calls;
        let place = self.settlements.clone().try_reserve_owned().map_err(|_| Refusal::Busy { most })?;
        let now = self.clock.now();
        let reserved = budget::shares(&self.calls.budgets, agent, provider, cost, now);
        let call = NewCall {
            id: Uuid::now_v7(),
            agent: agent.clone(),
            capability,
            provider: provider.into(),
            model,
            tokens_in: 0,
            tokens_out: 0,
            cost: cost.micros,
            duration_ms: 0,
            outcome: ABANDONED,
            detail: None,
            at: now,
        };
        // In the same transaction as the reservation, or before it: what it is settled by comes later.
        let begun = (!reserved.is_empty()).then(|| Box::new(NewCall { outcome: UNDER_WAY, ..call.clone() }));
        begun.map(|begun| self.store.leave(Entry::Begin(begun)));
        let mut flight = Flight {
            place: Some(place),
            reserving: None,
            used: reserved.iter().map(|share| share.amount).collect(),
            reserved,
            call: Some(Box::new(call)),
            notices: Vec::new(),
            began: Instant::now(),
        };
        if flight.reserved.is_empty() {
            return Ok(flight);
        }
        let answer = flight.reserving.insert(self.store.leave(Entry::Reserve(flight.reserved.clone())));
        let entered = self.store.entered(answer).await;
        if let Err(error @ store::Error::Doubtful(_)) = entered {
            // It may be reserved yet: then it is given back.
            flight.used.fill(0);
            if let Some(call) = &mut flight.call {
                (call.outcome, call.cost) = ("refused", 0);
            }
            return Err(error.into());
        }
        flight.reserving = None;
        let refused = match entered {
            Ok(Entered { exhausted: None, .. }) => return Ok(flight),
            Ok(Entered { exhausted: Some(short), crossed }) => {
                flight.notices.extend(crossed.iter().map(crossing));
                over(&short, now)
            }
            Err(error) => error.into(),
        };
        flight.nothing();
        Err(refused)
    }
}

/// A try under way: whatever becomes of its caller, what it used is settled.
pub(crate) struct Flight {
    place: Option<mpsc::OwnedPermit<Settlement>>,
    reserving: Option<oneshot::Receiver<Result<Entered, store::Error>>>,
    reserved: Vec<Share>,
    /// Until something else is known, all that was reserved.
    used: Vec<i64>,
    call: Option<Box<NewCall>>,
    pub notices: Vec<Notice>,
    began: Instant,
}

impl Flight {
    /// What it used; the request counts in any case.
    pub fn used(&mut self, tokens: Tokens, micros: i64) {
        for (share, used) in self.reserved.iter().zip(&mut self.used) {
            if !budget::of(share).0 {
                *used = micros;
            }
        }
        if let Some(call) = &mut self.call {
            (call.tokens_in, call.tokens_out, call.cost) = (tokens.read, tokens.written, micros);
        }
    }

    /// Nothing was sent, so nothing was used.
    pub fn unsent(&mut self) {
        self.used.fill(0);
        if let Some(call) = &mut self.call {
            call.cost = 0;
        }
    }

    /// What it is about, for the record.
    pub fn about(&mut self, what: &str) {
        if let Some(call) = &mut self.call {
            call.model = Some(what.into());
        }
    }

    /// It has ended.
    pub fn end(mut self, outcome: &'static str, detail: Option<String>) {
        if let Some(call) = &mut self.call {
            (call.outcome, call.detail) = (outcome, detail);
        }
    }

    /// Nothing was reserved, and nothing is sent.
    fn nothing(mut self) {
        self.reserved.clear();
        self.used.clear();
        if let Some(call) = &mut self.call {
            (call.outcome, call.cost) = ("refused", 0);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (Some(place), Some(mut call)) = (self.place.take(), self.call.take()) else { return };
        call.duration_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        place.send(Settlement {
            reserving: self.reserving.take(),
            reserved: std::mem::take(&mut self.reserved),
            used: std::mem::take(&mut self.used),
            call,
            notices: std::mem::take(&mut self.notices),
        });
    }
}

impl Service {
    /// Runs until [`Handle::close`](crate::Handle::close), and until all that has begun by then is settled.
    pub async fn run(mut self, tell: impl Fn(Notice)) {
        let (store, mut settling) = (&self.store, FuturesUnordered::new());
        let (mut open, mut ended) = (true, false);
        while !ended || !settling.is_empty() {
            // Side by side: the store makes one transaction of them, and none waits for another's.
            tokio::select! {
                settlement = self.settlements.recv(), if !ended && settling.len() < AT_ONCE => match settlement {
                    Some(settlement) => settling.push(settle(store, settlement)),
                    None => ended = true,
                },
                Some(notices) = settling.next() => notices.into_iter().for_each(&tell),
                () = self.closing.notified(), if open => {
                    open = false;
                    self.settlements.close();
                }
            }
        }
    }
}

/// Settles until it is settled, or the store has ended.
async fn settle(store: &Store, settlement: Settlement) -> Vec<Notice> {
    let Settlement { reserving, mut reserved, mut used, call, mut notices } = settlement;
    if let Some(mut reserving) = reserving {
        // The caller is gone, and nothing was sent. Where the answer was that it is in doubt, there is none to wait for: it may stay
        // reserved, and is more seldom than it is worth to know.
        let answered = if reserving.is_terminated() { None } else { (&mut reserving).await.ok() };
        match answered {
            Some(Ok(Entered { exhausted: None, .. })) => used.fill(0),
            _ => {
                reserved.clear();
                used.clear();
            }
        }
    }
    loop {
        let entry = Entry::Settle { reserved: reserved.clone(), used: used.clone(), call: call.clone() };
        match store.enter_soon(entry).await {
            Ok(entered) => {
                notices.extend(entered.crossed.iter().map(crossing));
                return notices;
            }
            Err(store::Error::Closed) => return notices,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

/// What is said of a budget that has come so far.
fn crossing((share, level): &(Share, ledger::Level)) -> Notice {
    let (budget, period) = &share.budget;
    // Each is news of its own, once a period.
    let (level, told, text) = match level {
        ledger::Level::Warning => {
            (Level::Warning, 75, format!("75 % of the budget `{budget}` is used in {period}"))
        }
        ledger::Level::Critical => {
            (Level::Critical, 90, format!("90 % of the budget `{budget}` is used in {period}"))
        }
        ledger::Level::Exhausted => {
            (Level::Critical, 100, format!("the budget `{budget}` is used up in {period}: calls are refused"))
        }
    };
    let key = budget::key(share, told);
    let text = format!("{text}; `openclaw budget` shows it, [providers] budgets can raise it");
    let agent = budget.split(" · ").next().and_then(|name| name.parse().ok());
    Notice { agent, level, key, text }
}
