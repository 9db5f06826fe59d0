//! HTTP, through the shipped binary.

mod door;
mod readiness;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use openclaw_tests::daemon::Home;

/// What lets do everything.
const TOKEN: &str = "operator-0123456789abcdef";
/// What lets look.
const READ: &str = "reader-0123456789abcdef";

/// Writes the secrets of a home.
fn secrets(home: &Home, text: &str) -> Result<()> {
    let file = home.path().join("config/.env");
    fs::write(&file, text)?;
    Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?)
}

/// Both tokens.
fn tokens() -> String {
    format!("OPENCLAW_GATEWAY_TOKEN={TOKEN}\nOPENCLAW_GATEWAY_READ_TOKEN={READ}\n")
}
