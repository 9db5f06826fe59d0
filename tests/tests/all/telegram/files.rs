//! Files that people send.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use openclaw_tests::daemon::Home;
use openclaw_tests::telegram::{ANN, Bot, TOKEN};
use serde_json::json;

use super::stage;
use crate::support::{quick, tasks};

#[test]
fn files_land_in_uploads_within_their_limits() -> Result<()> {
    let (bot, home, _daemon) = stage("max_upload = '1 KiB'\nmax_uploads = '2 KiB'")?;
    let send = |id: &str, name: &str, caption: &str, size: usize| {
        bot.file(id, &vec![b'x'; size]);
        bot.push(json!({
            "from": {"id": ANN, "first_name": "Ann"}, "chat": {"id": ANN, "type": "private"}, "caption": caption,
            "document": {"file_id": id, "file_name": name},
        }))
    };
    let update = send("a", "../../note.txt", "echo got it", 1000);
    // What is said after it does not overtake it.
    bot.say("echo after");
    bot.until_sent(2)?;
    assert_eq!(bot.texts(), ["got it", "after"]);
    let path = home.path().join(format!("uploads/{update}-note.txt"));
    assert_eq!(fs::read(&path)?.len(), 1000);
    assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(home.path().join("uploads"))?.permissions().mode() & 0o777, 0o700);
    let done = tasks(&home, "misbehaving", "done")?;
    let id = done.last().and_then(|task| task["id"].as_str()).unwrap_or_default();
    let task = crate::support::task(&home, id)?;
    assert_eq!(task["payload"]["data"]["file"]["name"], "note.txt", "{task}");

    send("b", "big.txt", "", 1025);
    send("c", "evil.sh", "", 5);
    send("d", "second.txt", "", 1000);
    send("e", "third.txt", "", 1000);
    bot.until_sent(6)?;
    let texts = bot.texts();
    assert!(texts[2].contains("larger than 1 KiB"), "{texts:?}");
    assert!(texts[3].contains("`.sh`") || texts[3].contains("<code>.sh</code>"), "{texts:?}");
    // Nothing is said with it, which is this agent's mistake to make.
    assert!(texts[4].contains("could not do this"), "{texts:?}");
    assert!(texts[5].contains("holds"), "{texts:?}");
    assert_eq!(fs::read_dir(home.path().join("uploads"))?.count(), 2);
    Ok(())
}

#[test]
fn an_agent_in_the_strict_sandbox_reads_what_it_was_sent_and_does_not_change_it() -> Result<()> {
    let bot = Bot::start()?;
    let config =
        format!("[telegram]\napi = '{}'\nallow = [{ANN}]\n[routing]\ndefault = 'escaping'\n", bot.url());
    let home = Home::new(
        &quick(&format!("{config}[agents.escaping]\nsandbox = 'strict'\n")),
        &["scout", "escaping"],
    )?;
    let file = home.path().join("config/.env");
    fs::write(&file, format!("TELEGRAM_BOT_TOKEN={TOKEN}\n"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    let daemon = home.start_ready(&["scout", "escaping"])?;
    bot.file("a", b"what was sent");
    let update = bot.push(json!({
        "from": {"id": ANN, "first_name": "Ann"}, "chat": {"id": ANN, "type": "private"}, "caption": "pair",
        "document": {"file_id": "a", "file_name": "note.txt"},
    }));
    bot.until_sent(1)?;
    let path = home.path().join(format!("uploads/{update}-note.txt"));
    bot.say(&format!("read {}", path.display()));
    bot.say(&format!("write {}", path.display()));
    bot.until_sent(3)?;
    let texts = bot.texts();
    assert_eq!(texts[1], "ok what was sent");
    assert!(!texts[2].starts_with("ok"), "{texts:?}");
    assert_eq!(fs::read_to_string(&path)?, "what was sent");
    assert!(daemon.stop()?.success());
    Ok(())
}
