//! The first minute of a new user.

use anyhow::Result;
use openclaw_tests::daemon::Home;

#[test]
fn three_agents_come_up_and_answer() -> Result<()> {
    let config = include_str!("../../../config/openclaw.toml");
    let home = Home::new(config, &["milkbot", "atlas", "scout"])?;
    let daemon = home.start_ready(&["milkbot", "atlas", "scout"])?;
    assert!(home.ok(&["send", "milkbot", "/help"])?.contains("/resources"));
    assert!(home.ok(&["send", "milkbot", "/resources"])?.contains("Memory"));
    assert!(daemon.stop()?.success());
    assert_eq!(home.hosts()?, Vec::<i32>::new());
    Ok(())
}
