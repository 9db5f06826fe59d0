//! `openclaw agents grants`

use settings::Inputs;

use super::table::short;
use super::{print, print_json};
use crate::control::Ask;
use crate::control::client::Client;
use crate::exit::Failure;
use crate::provided::Grants;

/// Prints what an agent may ask for, and what it did with that today.
pub fn show(inputs: &Inputs, name: String, json: bool) -> Result<(), Failure> {
    let grants: Grants = Client::connect(inputs)?.ask(Ask::Grants { name })?;
    if json {
        return print_json(&grants);
    }
    let list = |items: &[String]| if items.is_empty() { "nothing".into() } else { items.join(", ") };
    let mut lines = vec![format!("{} may ask for: {}", grants.agent, list(&grants.grants))];
    let private = if grants.allow_private { ", those with a port also in a private network" } else { "" };
    lines.push(format!("may fetch from: {}{private}", list(&grants.hosts)));
    let rates: Vec<_> = grants.rates.iter().map(|(what, rate)| format!("{what} {rate}")).collect();
    lines.push(format!("no oftener than: {}", list(&rates)));
    lines.extend(grants.budgets.iter().map(|(name, percent)| format!("budget {name}: {percent} % is used")));
    lines.push("asked for today (UTC):".into());
    lines
        .extend(grants.asked.iter().map(|one| format!("  {} × {} · {}", one.count, one.method, one.outcome)));
    if grants.asked.is_empty() {
        lines.push("  nothing".into());
    }
    lines.push("providers and pages today (UTC), of the last 1,000 calls:".into());
    lines.extend(grants.today.iter().map(|(what, count)| format!("  {count} × {what}")));
    if grants.today.is_empty() {
        lines.push("  no calls".into());
    }
    if !grants.refused.is_empty() {
        lines.push("refused lately:".into());
    }
    let refused = grants.refused.iter();
    lines.extend(refused.map(|(at, why)| format!("  {} {}", at.format("%F %T"), short(why, 160))));
    print(&lines.join("\n"))
}
