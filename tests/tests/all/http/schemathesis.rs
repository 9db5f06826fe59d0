//! What the description of the API promises holds, whatever is sent: asked by schemathesis, which makes it up.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::{TOKEN, stage};

/// Where it is; none where it cannot be had, which is said.
fn program() -> Result<Option<String>> {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/schemathesis")).output()?;
    if output.status.success() {
        return Ok(Some(String::from_utf8(output.stdout)?.trim().to_owned()));
    }
    if std::env::var("CI").as_deref() == Ok("true") {
        bail!("scripts/schemathesis: {}", String::from_utf8_lossy(&output.stderr));
    }
    eprintln!("skipped: there is no schemathesis (pip install schemathesis)");
    Ok(None)
}

#[test]
fn nothing_is_found_that_the_description_does_not_say() -> Result<()> {
    let Some(program) = program()? else { return Ok(()) };
    // Asked much faster than anybody would: what asks too much is refused, as the description says.
    let (home, daemon, http) = stage("[gateway]\nrate = 100000\nbad_tokens = 100000\n")?;
    let output = Command::new(program)
        .arg("run")
        .arg(format!("http://{}/api/v1/openapi.json", http.address))
        .args(["-H", &format!("Authorization: Bearer {TOKEN}")])
        // A stream of events has no end.
        .args(["--exclude-path", "/api/v1/events"])
        // What must be found again is found again.
        .args(["--seed", "1", "--max-examples", "100", "--no-color", "--request-timeout", "20"])
        .args(["--continue-on-failure", "--generation-database", "none"])
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // Each operation of the description, but for the stream.
    assert!(said.contains("Tested: 16"), "{said}");
    assert!(daemon.stop()?.success());
    Ok(())
}
