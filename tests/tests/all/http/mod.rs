//! HTTP, through the shipped binary.

mod api;
mod bad_input;
mod door;
mod events;
mod limits;
mod readiness;
mod schemathesis;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::http::{Answer, Http};

use crate::support::quick;

/// What lets do everything.
pub(crate) const TOKEN: &str = "operator-0123456789abcdef";
/// What lets look.
const READ: &str = "reader-0123456789abcdef";

/// Writes the secrets of a home.
pub(crate) fn secrets(home: &Home, text: &str) -> Result<()> {
    let file = home.path().join("config/.env");
    fs::write(&file, text)?;
    Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?)
}

/// Both tokens.
pub(crate) fn tokens() -> String {
    format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}\nOPENCLAW_GATEWAY_READ_TOKEN={READ}\n")
}

/// A daemon with scout and misbehaving, both ready, with both tokens and `config`; and the operator's client.
fn stage(config: &str) -> Result<(Home, Daemon, Http)> {
    let home = Home::new(&quick(&format!("[agents.misbehaving]\n{config}")), &["scout", "misbehaving"])?;
    secrets(&home, &tokens())?;
    let daemon = home.start_ready(&["scout", "misbehaving"])?;
    let http = Http::of(&home, Some(TOKEN))?;
    Ok((home, daemon, http))
}

/// It is a problem of that status and code, as RFC 9457 has it; answers its detail.
#[track_caller]
fn problem(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{}", answer.text);
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    assert!(!answer.header("x-request-id").is_empty());
    let problem = answer.json().unwrap_or_default();
    assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()), "{problem}");
    assert_eq!(problem["type"], "about:blank");
    problem["detail"].as_str().unwrap_or_default().to_owned()
}
