//! `openclaw install`: a plan is made of settings (pure), and carried out. Whoever only wants to see it prints it.

mod apply;
mod plan;
#[cfg(test)]
mod tests;

pub use apply::{Applied, Error, Record, apply, manager, record, restore, systemctl, uninstall};
pub use plan::{Content, Plan, Request, Step, plan};
