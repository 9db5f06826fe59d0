//! `agents rollback`: back by hand, to the version before or to any that is kept.

use anyhow::{Result, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::variant::{NAME, Variant};

use super::{
    FIRST, SECOND, alone, canaries, library, other_is_reloaded, serves, stage, stage_of_two, until_now,
    until_step,
};
use crate::support::{assert_sentence, fails, pid, reply};

const THIRD: Variant = Variant::good(3);
/// So short that each proves itself: what has not is kept no longer than it is of use.
const PROBATION: &str = "probation = \"50ms\"";

/// A chameleon that has come as far as its third version.
fn thrice() -> Result<(Home, Daemon)> {
    let (home, daemon) = stage_of_two(PROBATION, &FIRST)?;
    for version in [SECOND, THIRD] {
        reply(&home, NAME, "count a")?;
        home.put(&version, NAME)?;
        until_now(&home, NAME, &version)?;
        until_step(&home, &[&format!("probation of {} passed", version.short()?)])?;
    }
    Ok((home, daemon))
}

#[test]
fn back_to_the_one_before() -> Result<()> {
    let (home, _daemon) = thrice()?;
    let before = alone(&home)?;
    home.ok(&["agents", "rollback", NAME])?;
    serves(&home, &SECOND)?;
    ensure!(pid(&home, NAME)? != before, "the process is the same");
    let step = until_step(&home, &["rollback: ", &format!("back to {}", SECOND.short()?)])?;
    assert_sentence(&step, &[]);
    // In good order: with what was counted.
    assert_eq!(reply(&home, NAME, "count a")?, SECOND.says("3"));
    // The file that is still there is not what is wanted, until it changes.
    let tried = canaries(&home)?;
    home.put(&THIRD, NAME)?;
    other_is_reloaded(&home, &SECOND)?;
    assert_eq!(canaries(&home)?, tried);
    serves(&home, &SECOND)?;
    ensure!(library(&home)?["note"].is_string(), "{}", library(&home)?);
    home.put(&Variant::good(4), NAME)?;
    until_now(&home, NAME, &Variant::good(4))
}

#[test]
fn back_to_one_by_its_hash() -> Result<()> {
    let (home, daemon) = thrice()?;
    let said = home.json(&["agents", "rollback", NAME, &FIRST.hash()?, "--json"])?;
    assert!(said.to_string().contains(&FIRST.short()?), "{said}");
    serves(&home, &FIRST)?;
    // The beginning of a hash is enough.
    home.ok(&["agents", "rollback", NAME, &SECOND.hash()?[..8]])?;
    serves(&home, &SECOND)?;
    // The next daemon keeps to it.
    assert!(daemon.stop()?.success());
    let _daemon = home.start_ready(&["scout", NAME, super::OTHER])?;
    other_is_reloaded(&home, &SECOND)?;
    serves(&home, &SECOND)
}

#[test]
fn back_to_nowhere_is_refused() -> Result<()> {
    let (home, _daemon) = stage("", &FIRST)?;
    let before = pid(&home, NAME)?;
    let said = fails(&home, 1, &["agents", "rollback", NAME])?;
    assert!(said.contains(NAME) && said.trim().lines().count() == 1, "{said}");
    for unknown in ["0123456789ab", "nonsense", ""] {
        let output = home.cli(&["agents", "rollback", NAME, unknown])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success() && said.trim().lines().count() == 1, "`{unknown}`: {said}");
    }
    assert_eq!(alone(&home)?, before);
    serves(&home, &FIRST)
}
