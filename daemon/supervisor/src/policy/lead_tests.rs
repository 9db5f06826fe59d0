use proptest::prelude::*;

use super::*;

const TTL: Duration = Duration::from_secs(10);
const KILL: Duration = Duration::from_secs(1);

fn at(millis: u64) -> Time {
    Time::UNIX_EPOCH + Duration::from_millis(millis)
}

fn atlas() -> AgentName {
    "atlas".parse().unwrap()
}

fn leading(asked: u64) -> Leads {
    let mut leads = Leads::new(TTL, KILL);
    leads.want(atlas());
    assert_eq!(leads.claimed(vec![(atlas(), Ok(7))], at(asked)), [(atlas(), Change::Won(7))]);
    leads
}

#[test]
fn what_is_renewed_is_kept_and_what_another_has_is_lost() {
    let mut leads = leading(0);
    assert_eq!(leads.deadline(), Some(at(8_000)));
    let held = leads.held();
    assert_eq!(leads.renewed(&held, Said::Told((vec![atlas()], vec![])), at(3_000), at(3_100)), []);
    assert_eq!(leads.deadline(), Some(at(11_000)));
    let changes = leads.renewed(&held, Said::Told((vec![], vec![atlas()])), at(6_000), at(6_100));
    assert!(matches!(&changes[..], [(_, Change::Lost { why })] if why.contains("another")), "{changes:?}");
    assert_eq!((leads.held(), leads.wanted()), (vec![], vec![atlas()]));
}

#[test]
fn silence_ends_a_lead_before_its_time_and_a_server_that_is_down_does_not() {
    let mut leads = leading(0);
    let held = leads.held();
    assert_eq!(leads.renewed(&held, Said::Nothing("no route".into()), at(3_000), at(7_900)), []);
    let changes = leads.renewed(&held, Said::Nothing("no route".into()), at(3_000), at(8_000));
    assert!(matches!(&changes[..], [(_, Change::Lost { why })] if why.contains("no route")), "{changes:?}");
    let mut leads = leading(0);
    assert_eq!(leads.renewed(&held, Said::Down, at(7_000), at(9_000)), []);
    assert_eq!(leads.deadline(), Some(at(15_000)));
}

#[test]
fn an_answer_about_an_earlier_lead_says_nothing_of_this_one() {
    let mut leads = leading(0);
    assert_eq!(leads.renewed(&[(atlas(), 6)], Said::Told((vec![], vec![atlas()])), at(1), at(2)), []);
    assert_eq!(leads.held(), [(atlas(), 7)]);
}

/// The database, and what may happen to whoever asks it.
#[derive(Clone, Debug)]
enum Step {
    /// The server crashes, and is up again after so long.
    Crash { away: u64 },
    /// One of the two is cut off for so long.
    Cut { who: usize, away: u64 },
    /// Nothing.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1u64..40_000).prop_map(|away| Step::Crash { away }),
        (0usize..2, 1u64..40_000).prop_map(|(who, away)| Step::Cut { who, away }),
        (1u64..10_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..20)
}

#[derive(Default)]
struct Server {
    started: u64,
    up_at: u64,
    lease: Option<(usize, i64, u64)>,
    token: i64,
}

impl Server {
    fn claim(&mut self, who: usize, now: u64) -> Result<i64, String> {
        let ttl = TTL.as_millis() as u64;
        if let Some((_, _, until)) = self.lease
            && until.max(self.started + ttl) >= now
        {
            return Err("another".into());
        }
        self.token += 1;
        self.lease = Some((who, self.token, now + ttl));
        Ok(self.token)
    }

    fn renew(&mut self, token: i64, now: u64) -> bool {
        match &mut self.lease {
            Some((_, held, until)) if *held == token => {
                *until = now + TTL.as_millis() as u64;
                true
            }
            _ => false,
        }
    }
}

proptest! {
    /// Two processes, a server that crashes, lines that are cut: hosts, which live for `KILL` after they were told to
    /// go, never run in two places.
    #[test]
    fn a_name_never_runs_in_two_places(steps in steps(), delay in 1u64..400) {
        let mut server = Server::default();
        let mut processes = [Leads::new(TTL, KILL), Leads::new(TTL, KILL)];
        processes.iter_mut().for_each(|leads| leads.want(atlas()));
        let (mut cut, mut runs_until) = ([0u64; 2], [0u64; 2]);
        let mut steps = steps.into_iter();
        let (mut now, mut next_step) = (20_000u64, 20_000u64);
        for tick in 0..4_000u64 {
            now += 100;
            if now >= next_step {
                match steps.next() {
                    None => break,
                    Some(Step::Crash { away }) => {
                        (server.up_at, server.started) = (now + away, now + away);
                        next_step = now + away;
                    }
                    Some(Step::Cut { who, away }) => cut[who] = now + away,
                    Some(Step::Wait(millis)) => next_step = now + millis,
                }
            }
            for (who, leads) in processes.iter_mut().enumerate() {
                // Each asks at its own pace, and the answer is late by `delay`.
                if (tick + who as u64 * 3).is_multiple_of(10) {
                    let (asked, answered) = (at(now), at(now + delay));
                    let reached = now >= cut[who];
                    let held = leads.held();
                    if !held.is_empty() {
                        let said = if !reached {
                            Said::Nothing("cut".into())
                        } else if now < server.up_at {
                            Said::Down
                        } else {
                            let (kept, lost): (Vec<_>, Vec<_>) =
                                held.iter().partition(|(_, token)| server.renew(*token, now));
                            let names = |held: Vec<&(AgentName, i64)>| held.into_iter().map(|(a, _)| a.clone()).collect();
                            Said::Told((names(kept), names(lost)))
                        };
                        leads.renewed(&held, said, asked, answered);
                    } else if reached && now >= server.up_at {
                        let claim = server.claim(who, now);
                        leads.claimed(vec![(atlas(), claim)], asked);
                    }
                }
                leads.expired(at(now), "silence");
                if !leads.held().is_empty() {
                    runs_until[who] = now + KILL.as_millis() as u64;
                }
            }
            let run = (0..2).filter(|who| runs_until[*who] > now).count();
            prop_assert!(run <= 1, "two run at {now}");
        }
    }
}

#[test]
fn one_of_which_nothing_is_said_is_kept_until_its_time_is_up() {
    let mut leads = leading(0);
    let held = leads.held();
    let silence = || Said::Told((vec![], vec![]));
    assert_eq!(leads.renewed(&held, silence(), at(3_000), at(3_100)), []);
    assert_eq!(leads.deadline(), Some(at(8_000)));
    let changes = leads.renewed(&held, silence(), at(7_900), at(8_000));
    assert!(matches!(&changes[..], [(_, Change::Lost { why })] if why.contains("held")), "{changes:?}");
}
