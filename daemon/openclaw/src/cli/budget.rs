//! `openclaw budget`

use std::io::{IsTerminal, stdout};

use chrono::{DateTime, Utc};
use clap::Args;
use serde::{Deserialize, Serialize};
use settings::Inputs;

use super::table::{short, table};
use super::{print, print_json};
use crate::control::Ask;
use crate::control::client::Client;
use crate::exit::Failure;

/// `openclaw budget`
#[derive(Args)]
#[command(
    after_help = "Budgets stand in [providers] budgets of the configuration. A call is reserved before it is made and settled\n\
                  after it; `reserved` is what calls that are under way may use, or one whose end nobody saw."
)]
pub struct BudgetArgs {
    /// Show so many of the newest calls as well
    #[arg(long, short = 'n', default_value_t = 0, value_name = "COUNT")]
    calls: u32,
    /// Of this agent alone
    #[arg(long, short = 'a', value_name = "AGENT")]
    agent: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    budgets: Vec<Budget>,
    calls: Vec<Call>,
}

#[derive(Serialize, Deserialize)]
struct Budget {
    budget: String,
    period: String,
    unit: String,
    used: f64,
    reserved: f64,
    limit: f64,
    percent: f64,
    until: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Call {
    agent: String,
    capability: String,
    provider: String,
    model: Option<String>,
    tokens_in: i64,
    tokens_out: i64,
    /// In millionths of a USD.
    cost: i64,
    duration_ms: i64,
    outcome: String,
    detail: Option<String>,
    at: DateTime<Utc>,
}

/// Prints what has been used.
pub fn run(inputs: &Inputs, args: BudgetArgs) -> Result<(), Failure> {
    let ask = Ask::Budget { agent: args.agent, calls: args.calls };
    let answer: Answer = Client::connect(inputs)?.ask(ask)?;
    if args.json {
        return print_json(&answer);
    }
    let on_terminal = stdout().is_terminal();
    if answer.budgets.is_empty() {
        print("no budgets: nothing limits what agents may use; write [providers] budgets")?;
    } else {
        let mut shown = table(&["budget", "period", "used", "reserved", "limit", "%", "until"], on_terminal);
        for one in answer.budgets {
            let amount =
                |amount: f64| if one.unit == "usd" { format!("{amount:.4} USD") } else { amount.to_string() };
            shown.add_row([
                one.budget.clone(),
                one.period.clone(),
                amount(one.used),
                amount(one.reserved),
                amount(one.limit),
                one.percent.to_string(),
                one.until.format("%F %T").to_string(),
            ]);
        }
        print(&shown.to_string())?;
    }
    if args.calls > 0 {
        let head = ["when", "agent", "call", "provider", "model", "tokens", "USD", "ms", "outcome"];
        let mut shown = table(&head, on_terminal);
        for call in answer.calls {
            let detail = call.detail.map(|detail| format!(": {}", short(&detail, 80))).unwrap_or_default();
            shown.add_row([
                call.at.format("%F %T").to_string(),
                call.agent,
                call.capability,
                call.provider,
                call.model.unwrap_or_else(|| "-".into()),
                format!("{} + {}", call.tokens_in, call.tokens_out),
                format!("{:.6}", call.cost as f64 / 1e6),
                call.duration_ms.to_string(),
                format!("{}{detail}", call.outcome),
            ]);
        }
        print(&format!("\n{shown}"))?;
    }
    Ok(())
}
