//! What follows when something could not be sent. Pure.

use std::time::Duration;

use super::api::Failure;

/// The first pause after a fault of the network; doubled for each further one.
const FIRST: Duration = Duration::from_millis(500);
/// The longest such pause: whoever waits for an answer has it within a minute of Telegram's return.
const LONGEST: Duration = Duration::from_secs(60);
/// After this, what was to be said is nobody's concern any more: as long as ended tasks are kept by default.
pub const TRIED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// So often the server fails at one message before those after it pass, which are about 8 s.
const IN_THE_WAY: u32 = 5;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same again, after this.
    Again(Duration),
    /// The same without its entities, at once.
    Plain,
    /// Nothing: it can never be sent.
    GiveUp,
}

/// How long to wait after so many faults in a row, and longer where Telegram asks for it.
pub fn pause(failure: &Failure, faults: u32) -> Duration {
    match failure {
        // A little more than was asked for: clocks differ.
        Failure::TooMany { retry_after } => (*retry_after).min(TRIED_FOR) + Duration::from_millis(100),
        // Only a person mends these: looked at once a minute.
        Failure::Unauthorized | Failure::Conflict { .. } if faults > 1 => LONGEST,
        _ => FIRST.saturating_mul(1 << faults.saturating_sub(1).min(16)).min(LONGEST),
    }
}

/// What follows for a message that was tried `attempts` times since `age` ago, with entities or without.
pub fn next(failure: &Failure, attempts: u32, age: Duration, html: bool) -> Next {
    match failure {
        // Its entities may be what is wrong with it.
        Failure::Refused { code: 400, .. } if html => Next::Plain,
        Failure::Refused { .. } => Next::GiveUp,
        _ if age >= TRIED_FOR => Next::GiveUp,
        failure => Next::Again(pause(failure, attempts)),
    }
}

/// Whether it is this message that the server fails at, so that those after it should not wait: Telegram `listens` otherwise.
pub fn stands_in_the_way(failure: &Failure, attempts: u32, listens: bool) -> bool {
    listens && attempts >= IN_THE_WAY && matches!(failure, Failure::Server { .. })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failures() -> impl Strategy<Value = Failure> {
        prop_oneof![
            any::<u64>().prop_map(|secs| Failure::TooMany { retry_after: Duration::from_secs(secs) }),
            (400..500_u16).prop_map(|code| Failure::Refused { code, why: String::new() }),
            (500..600_u16).prop_map(|code| Failure::Server { code }),
            Just(Failure::Unauthorized),
            Just(Failure::Moved { to: -1005 }),
            Just(Failure::Conflict { why: String::new() }),
            Just(Failure::Unreachable { why: String::new() }),
        ]
    }

    #[test]
    fn what_telegram_asks_for_is_obeyed() {
        for secs in [7, 86_400] {
            let failure = Failure::TooMany { retry_after: Duration::from_secs(secs) };
            let pause = Duration::from_millis(secs * 1000 + 100);
            assert_eq!(next(&failure, 1, Duration::ZERO, true), Next::Again(pause));
        }
    }

    #[test]
    fn only_what_the_server_fails_at_and_nothing_else_lets_others_pass() {
        let server = Failure::Server { code: 500 };
        assert!(stands_in_the_way(&server, IN_THE_WAY, true));
        assert!(!stands_in_the_way(&server, IN_THE_WAY - 1, true) && !stands_in_the_way(&server, 99, false));
        let flood = Failure::TooMany { retry_after: Duration::from_secs(1) };
        assert!(!stands_in_the_way(&flood, 99, true));
    }

    #[test]
    fn entities_are_given_up_before_the_message_is() {
        let refused = |code| Failure::Refused { code, why: String::new() };
        assert_eq!(next(&refused(400), 1, Duration::ZERO, true), Next::Plain);
        assert_eq!(next(&refused(400), 1, Duration::ZERO, false), Next::GiveUp);
        assert_eq!(next(&refused(403), 1, Duration::ZERO, true), Next::GiveUp);
    }

    proptest! {
        #[test]
        fn a_pause_is_no_shorter_than_asked_for_and_never_for_ever(
            failure in failures(), attempts in 1..u32::MAX, age in 0..2_000_000_u64,
        ) {
            let age = Duration::from_secs(age);
            match next(&failure, attempts, age, false) {
                Next::Again(pause) => {
                    prop_assert!(age < TRIED_FOR && pause >= FIRST.min(Duration::from_millis(100)));
                    prop_assert!(pause <= TRIED_FOR + Duration::from_secs(1));
                    if let Failure::TooMany { retry_after } = failure {
                        prop_assert!(pause > retry_after.min(TRIED_FOR));
                    }
                }
                Next::Plain => prop_assert!(false, "there are no entities"),
                Next::GiveUp => {
                    let refused = matches!(failure, Failure::Refused { .. });
                    prop_assert!(refused || age >= TRIED_FOR);
                }
            }
        }
    }
}
