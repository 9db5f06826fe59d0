//! Against somebody else's emulator of the real server.

use anyhow::Result;
use openclaw_tests::telegram::{ANN, Emulator};
use openclaw_tests::wait_for;

use super::{home, nowhere, until};

#[test]
fn a_message_is_answered_and_what_the_emulator_lacks_is_survived() -> Result<()> {
    let Some(emulator) = Emulator::start()? else { return Ok(()) };
    let home = home(&emulator.url, "", "")?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let bot = until(&home, "ok")?;
    assert_eq!(bot["evidence"]["what"], "completed a getUpdates", "{bot}");
    assert_eq!(bot["description"], "@TestNameBot by long polling");
    let mut heard = Vec::new();
    for text in ["echo one", "echo two", "echo **three**"] {
        emulator.say(ANN, text)?;
    }
    wait_for("three answers", || {
        heard.extend(emulator.heard(ANN)?);
        Ok((heard.len() >= 3).then_some(()))
    })?;
    assert_eq!(heard, ["one", "two", "<b>three</b>"]);
    // It answers setMyCommands and sendChatAction with 500.
    emulator.say(ANN, "sleep 600 slow")?;
    wait_for("the slow answer", || Ok(emulator.heard(ANN)?.contains(&"slow".to_owned()).then_some(())))?;
    assert_eq!(until(&home, "ok")?["state"], "ready");
    nowhere(&home, "")?;
    assert!(daemon.stop()?.success());
    Ok(())
}
