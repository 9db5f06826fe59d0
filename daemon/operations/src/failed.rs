//! What is told of a unit that failed, from what systemd hands to whom it calls: to `ExecStopPost=` each time the unit
//! ends, to `OnFailure=` when it stays down. Pure.

/// The exit codes after which a unit stays down: the call, the build or the configuration is wrong.
pub const STAYS_DOWN: [&str; 3] = ["64", "69", "78"];

/// What there is to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It ended as it should, or somebody else tells it.
    Nothing,
    /// It ended badly and is started again.
    Ended(String),
    /// It stays down.
    Failed(String),
    /// systemd does not know such a unit.
    NoSuchUnit,
}

/// A unit as `systemctl show` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// `LoadState`
    pub load: String,
    /// `Result`
    pub result: String,
    /// `ExecMainStatus`
    pub status: String,
}

/// What to tell of a unit, by the variables that systemd sets; where it sets none (before systemd 251, for sockets, or by
/// hand) by what it says now, when the next start may have begun.
pub fn told(
    unit: &str,
    variable: impl Fn(&str) -> Option<String>,
    show: impl FnOnce() -> Option<Shown>,
) -> Told {
    if let Some(result) = variable("SERVICE_RESULT") {
        let status = variable("EXIT_STATUS").unwrap_or_else(|| "unknown".into());
        if result == "success" || STAYS_DOWN.contains(&status.as_str()) {
            return Told::Nothing;
        }
        return Told::Ended(format!(
            "the unit {unit} ended badly (result {result}, exit code {status}): `journalctl -u {unit}` says why"
        ));
    }
    let (result, status) = match variable("MONITOR_SERVICE_RESULT") {
        Some(result) => (result, variable("MONITOR_EXIT_STATUS").unwrap_or_else(|| "unknown".into())),
        None => match show() {
            Some(shown) if shown.load == "not-found" => return Told::NoSuchUnit,
            Some(shown) if shown.result == "success" => ("no longer known".into(), "no longer known".into()),
            Some(shown) => (shown.result, shown.status),
            None => ("unknown".into(), "unknown".into()),
        },
    };
    // A port and who serves it fail with each other.
    let (all, start) = match unit {
        "openclaw.service" | "openclaw.socket" => ("openclaw.service openclaw.socket", "openclaw.service"),
        unit => (unit, unit),
    };
    let first = match status.as_str() {
        "78" => "mend the configuration (`openclaw config check`)".to_owned(),
        "69" => "it is not built in this version, or what it needs is away: see to that".to_owned(),
        _ => format!("`journalctl -u {start}` says why"),
    };
    Told::Failed(format!(
        "the unit {unit} failed and stays down (result {result}, exit code {status}): {first}; then `systemctl reset-failed {all}` \
         and `systemctl start {start}`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(unit: &str, variables: &[(&str, &str)], shown: Option<(&str, &str, &str)>) -> Told {
        let variable =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let shown = shown.map(|(load, result, status)| Shown {
            load: load.into(),
            result: result.into(),
            status: status.into(),
        });
        told(unit, variable, || shown)
    }

    #[test]
    fn who_is_started_again_is_told_of_and_who_stopped_is_not() {
        let ended =
            |result, status| by("a.service", &[("SERVICE_RESULT", result), ("EXIT_STATUS", status)], None);
        assert_eq!(ended("success", "0"), Told::Nothing);
        // OnFailure= tells those.
        for status in STAYS_DOWN {
            assert_eq!(ended("exit-code", status), Told::Nothing);
        }
        let Told::Ended(text) = ended("watchdog", "ABRT") else { panic!() };
        assert!(text.contains("ended badly (result watchdog, exit code ABRT)"), "{text}");
        assert!(matches!(ended("exit-code", "75"), Told::Ended(_)));
    }

    #[test]
    fn what_systemd_hands_over_counts_and_not_what_has_begun_since() {
        let began = Some(("loaded", "success", "0"));
        let handed = [("MONITOR_SERVICE_RESULT", "exit-code"), ("MONITOR_EXIT_STATUS", "78")];
        let Told::Failed(text) = by("openclaw.service", &handed, began) else { panic!() };
        assert!(text.contains("(result exit-code, exit code 78): mend the configuration"), "{text}");
        assert!(text.contains("reset-failed openclaw.service openclaw.socket`"), "{text}");
        let Told::Failed(text) = by("openclaw.service", &[], began) else { panic!() };
        assert!(text.contains("no longer known") && !text.contains("success"), "{text}");
        let hit = Some(("loaded", "service-start-limit-hit", ""));
        let Told::Failed(text) = by("openclaw.socket", &[], hit) else { panic!() };
        assert!(
            text.contains("start-limit-hit") && text.contains("`systemctl start openclaw.service`"),
            "{text}"
        );
    }

    #[test]
    fn of_a_unit_that_is_not_there_nothing_is_made_up() {
        assert_eq!(by("x.service", &[], Some(("not-found", "success", "0"))), Told::NoSuchUnit);
        let Told::Failed(text) = by("x.service", &[], None) else { panic!() };
        assert!(text.contains("result unknown"), "{text}");
    }
}
