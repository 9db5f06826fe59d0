//! Sessions: in order within each, side by side otherwise.

use std::fs;

use anyhow::Result;
use openclaw_tests::daemon::Home;
use openclaw_tests::socket::message;

/// Failing is part of the plan here, and must not open the breaker.
pub const CONFIG: &str = r#"
[tasks]
retry_initial = "1ms"
retry_max = "20ms"
[agents.misbehaving]
sandbox = "off"
concurrency = 8
breaker.min_calls = 1000000
"#;

#[test]
fn a_session_keeps_its_order_over_retries_while_others_run_beside_it() -> Result<()> {
    let home = Home::new(CONFIG, &["misbehaving"])?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let mut socket = home.socket()?;
    let meeting = home.path().join("meeting").display().to_string();
    let mut last = Vec::new();
    for session in 0..8 {
        let file = home.path().join(format!("session-{session}")).display().to_string();
        let texts = [
            format!("insist {file} 2 a"),
            format!("fail-until {file} 5"),
            // All eight must be at work at once for any to end: none waits for another session's retries.
            format!("meet {meeting} 8"),
            format!("insist {file} 3 b"),
            format!("append {file} c"),
        ];
        let name = format!("session-{session}");
        for (at, text) in texts.iter().enumerate() {
            let wait = (at + 1 == texts.len()).then_some(60_000);
            let ask = message("misbehaving", text, Some(&name), wait);
            match wait {
                None => assert!(socket.call(ask)?.is_ok()),
                Some(_) => last.push(socket.ask(ask)?),
            }
        }
    }
    while !last.is_empty() {
        let (id, answer) = socket.answer()?;
        last.retain(|asked| *asked != id);
        assert!(answer.as_ref().is_ok_and(|sent| sent["state"] == "done"), "{answer:?}");
    }
    for session in 0..8 {
        let effects = fs::read_to_string(home.path().join(format!("session-{session}")))?;
        let expected = ["a", "a", "tried", "tried", "tried", "b", "b", "b", "c"];
        assert_eq!(effects.lines().collect::<Vec<_>>(), expected);
    }
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn a_dead_letter_lets_its_session_go_on() -> Result<()> {
    let home = Home::new(&CONFIG.replace("[tasks]", "[tasks]\nmax_attempts = 2"), &["misbehaving"])?;
    let daemon = home.start_ready(&["misbehaving"])?;
    let file = home.path().join("effects");
    let mut socket = home.socket()?;
    let mut say = |text: String, wait| socket.call(message("misbehaving", &text, Some("s"), wait));
    say(format!("insist {} 3 a", file.display()), None)?.map_err(|_| anyhow::anyhow!("refused"))?;
    let second = say(format!("append {} b", file.display()), Some(60_000))?;
    assert!(second.as_ref().is_ok_and(|sent| sent["state"] == "done"), "{second:?}");
    assert_eq!(fs::read_to_string(&file)?, "a\na\nb\n");
    assert!(daemon.stop()?.success());
    Ok(())
}

#[test]
fn messages_sent_without_waiting_keep_the_order_in_which_they_were_sent() -> Result<()> {
    let home = Home::new(CONFIG, &["misbehaving"])?;
    let _daemon = home.start_ready(&["misbehaving"])?;
    let mut socket = home.socket()?;
    let file = home.path().join("lines").display().to_string();
    let ask = |line: u32| message("misbehaving", &format!("append {file} {line}"), Some("one"), Some(60_000));
    let mut asked = socket.asks((0..300).map(ask))?;
    while !asked.is_empty() {
        let (id, answer) = socket.answer()?;
        asked.retain(|other| *other != id);
        assert!(answer.as_ref().is_ok_and(|sent| sent["state"] == "done"), "{answer:?}");
    }
    let lines: Vec<u32> = fs::read_to_string(&file)?.lines().map(str::parse).collect::<Result<_, _>>()?;
    assert_eq!(lines, (0..300).collect::<Vec<_>>());
    Ok(())
}
