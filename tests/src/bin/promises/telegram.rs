//! How soon whoever writes to the bot has an answer.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::Home;
use openclaw_tests::telegram::{ANN, Emulator, TOKEN};
use openclaw_tests::wait_for;

use crate::Options;
use crate::row::{Bound, Row};

pub const ANSWER: &str = "Telegram's emulator: delivered → answered, no LLM";

/// From the emulator's taking a message to its having the answer; it is looked for every 5 ms.
pub fn answer(options: &Options) -> Result<Vec<Row>> {
    let emulator = Emulator::start()?.context("there is no emulator: apt-get install npm")?;
    let home = Home::new(
        &format!(
            "[telegram]\napi = '{}'\nallow = [{ANN}]\n[routing]\ndefault = 'misbehaving'\n[agents.misbehaving]\n",
            emulator.url
        ),
        &["misbehaving"],
    )?;
    let secrets = home.path().join("config/.env");
    std::fs::write(&secrets, format!("TELEGRAM_BOT_TOKEN={TOKEN}\n"))?;
    std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o600))?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let (warm_up, n, mut samples) = (5, options.samples(200), Vec::new());
    for round in 0..warm_up + n {
        emulator.say(ANN, &format!("echo {round}"))?;
        let began = Instant::now();
        let heard = wait_for("the answer", || {
            let heard = emulator.heard(ANN)?;
            Ok((!heard.is_empty()).then_some(heard))
        })?;
        ensure!(heard == [round.to_string()], "message {round}: {heard:?}");
        if round >= warm_up {
            samples.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    daemon.stop()?;
    Ok(vec![Row::new(ANSWER, "ms", &[Bound::P99(100.0)], samples)])
}
