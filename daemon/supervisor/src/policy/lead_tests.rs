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
    let mut leads = Leads::new(TTL, KILL, Vec::new());
    leads.want(atlas());
    assert_eq!(leads.claimed(vec![(atlas(), Ok(7))], at(asked)), [(atlas(), Change::Won(7))]);
    leads
}

#[test]
fn what_is_renewed_is_kept_and_what_another_has_is_lost() {
    let mut leads = leading(0);
    assert_eq!((leads.deadline(), leads.hosts_until()), (Some(at(8_000)), Some(at(9_500))));
    let held = leads.held();
    assert_eq!(leads.renewed(&held, Said::Told((vec![atlas()], vec![])), at(3_000), at(3_100)), []);
    assert_eq!((leads.deadline(), leads.hosts_until()), (Some(at(11_000)), Some(at(12_500))));
    let changes = leads.renewed(&held, Said::Told((vec![], vec![atlas()])), at(6_000), at(6_100));
    assert!(matches!(&changes[..], [(_, Change::Lost { why })] if why.contains("another")), "{changes:?}");
    assert_eq!((leads.held(), leads.wanted(at(99_000))), (vec![], vec![atlas()]));
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

#[test]
fn a_machine_that_was_suspended_gives_its_leads_up_as_it_wakes() {
    let mut leads = leading(0);
    let ahead = Duration::from_secs(500);
    // What it slept before it led says nothing, nor that the two clocks are not read at once.
    assert_eq!(leads.awake(ahead), []);
    assert_eq!(leads.awake(ahead + Duration::from_millis(900)), []);
    let changes = leads.awake(ahead + Duration::from_secs(9));
    assert!(matches!(&changes[..], [(_, Change::Lost { why })] if why.contains("suspended")), "{changes:?}");
    assert_eq!((leads.held(), leads.wanted(at(99_000))), (vec![], vec![atlas()]));
    // It leads again, and sleeps no more.
    assert_eq!(leads.claimed(vec![(atlas(), Ok(8))], at(9_000)), [(atlas(), Change::Won(8))]);
    assert_eq!(leads.awake(ahead + Duration::from_secs(9)), []);
}

#[test]
fn a_group_is_claimed_from_its_first_on_and_lost_as_one() {
    let scout: AgentName = "scout".parse().unwrap();
    let mut leads = Leads::new(TTL, KILL, vec![vec![scout.clone(), atlas()]]);
    leads.want(atlas());
    leads.want(scout.clone());
    assert_eq!(leads.wanted(at(0)), std::slice::from_ref(&scout));
    // Who stands by does so for all.
    let changes = leads.claimed(vec![(scout.clone(), Err("another".into()))], at(0));
    let stands = |agent, why: &str| (agent, Change::StandsBy { why: why.into() });
    let others = "its group runs as one, and `scout` is had by another: another";
    assert_eq!(changes, [stands(scout.clone(), "another"), stands(atlas(), others)]);
    assert_eq!(leads.claimed(vec![(scout.clone(), Ok(3))], at(1_000)), []);
    assert_eq!(leads.wanted(at(0)), [atlas()]);
    let changes = leads.claimed(vec![(atlas(), Ok(4))], at(1_000));
    assert_eq!(changes, [(atlas(), Change::Won(4)), (scout.clone(), Change::Won(3))]);
    let held = leads.held();
    let said = Said::Told((vec![scout.clone()], vec![atlas()]));
    let changes = leads.renewed(&held, said, at(2_000), at(2_000));
    let lost: Vec<_> = changes.iter().map(|(agent, _)| agent.clone()).collect();
    assert_eq!((lost, leads.held()), (vec![atlas(), scout], vec![]));
}

#[test]
fn what_is_of_no_use_without_the_rest_of_its_group_is_given_back_and_rests() {
    let scout: AgentName = "scout".parse().unwrap();
    let mut leads = Leads::new(TTL, KILL, vec![vec![atlas(), scout.clone()]]);
    leads.want(atlas());
    leads.want(scout.clone());
    assert_eq!(leads.claimed(vec![(atlas(), Ok(3))], at(0)), []);
    let changes = leads.claimed(vec![(scout.clone(), Err("store@box leads it".into()))], at(0));
    let why = "its group runs as one, and not all of it is to be had: `scout`: store@box leads it".to_owned();
    let stands = |agent| (agent, Change::StandsBy { why: why.clone() });
    assert_eq!(changes, [stands(atlas()), stands(scout.clone())]);
    assert_eq!(leads.give_back(at(9_999), 0.0), (vec![], vec![]));
    let given = leads.give_back(at(10_000), 0.5);
    assert_eq!(given, (vec![(atlas(), 3)], vec![(atlas(), Change::GivenBack { why })]));
    assert_eq!((leads.held(), leads.wanted(at(19_999))), (vec![], vec![]));
    assert_eq!(leads.wanted(at(20_000)), [atlas()]);
    // All of it is to be had: nothing is given back any more.
    leads.claimed(vec![(atlas(), Ok(5))], at(20_000));
    let changes = leads.claimed(vec![(scout.clone(), Ok(6))], at(20_000));
    assert_eq!(changes, [(atlas(), Change::Won(5)), (scout, Change::Won(6))]);
    assert_eq!(leads.give_back(at(90_000), 0.5), (vec![], vec![]));
}

#[test]
fn one_that_nobody_leads_since_its_first_is_led_alone_is_told_after_a_lease_and_so_is_its_end() {
    let scout: AgentName = "scout".parse().unwrap();
    let mut leads = Leads::new(TTL, KILL, vec![vec![atlas(), scout.clone()]]);
    leads.want(atlas());
    leads.want(scout.clone());
    // Nobody has said yet that the first is led elsewhere.
    assert_eq!(leads.waiting(), []);
    leads.claimed(vec![(atlas(), Err("alone@box leads it".into()))], at(0));
    let waiting = leads.waiting();
    assert_eq!(waiting, std::slice::from_ref(&scout));
    // Whoever leads the first is still on the way to it.
    assert_eq!(leads.seen(&waiting, &[], at(0)), []);
    assert_eq!(leads.seen(&waiting, &waiting, at(5_000)), [(scout.clone(), Change::Led)]);
    assert_eq!(leads.seen(&waiting, &waiting, at(90_000)), []);
    assert_eq!(leads.seen(&waiting, &[], at(100_000)), []);
    assert_eq!(leads.seen(&waiting, &[], at(109_999)), []);
    let why = "its group runs as one, and `atlas` is had by another: alone@box leads it".to_owned();
    assert_eq!(leads.seen(&waiting, &[], at(110_000)), [(scout.clone(), Change::Unled { why: why.clone() })]);
    assert_eq!(leads.seen(&waiting, &[], at(200_000)), []);
    let noon = at(110_000) + TELL_AGAIN;
    assert_eq!(leads.seen(&waiting, &[], noon), [(scout.clone(), Change::Unled { why })]);
    assert_eq!(leads.seen(&waiting, &[], noon), []);
    assert_eq!(leads.seen(&waiting, &waiting, noon), [(scout.clone(), Change::Led)]);
    // What is led here waits for nobody.
    leads.claimed(vec![(atlas(), Ok(1))], at(210_000));
    assert_eq!(leads.waiting(), []);
    leads.claimed(vec![(scout.clone(), Ok(2))], at(210_000));
    assert_eq!((leads.waiting(), leads.seen(&[], &[], at(210_000))), (vec![], vec![]));
}

/// The database, and what may happen to whoever asks it.
#[derive(Clone, Debug)]
enum Step {
    /// The server crashes, and is up again after so long.
    Crash { away: u64 },
    /// One of the two is cut off for so long.
    Cut { who: usize, away: u64 },
    /// Somebody holds the row of one member for so long.
    Hold { member: usize, away: u64 },
    /// Nothing.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1u64..40_000).prop_map(|away| Step::Crash { away }),
        (0usize..2, 1u64..40_000).prop_map(|(who, away)| Step::Cut { who, away }),
        (0usize..3, 1u64..40_000).prop_map(|(member, away)| Step::Hold { member, away }),
        (1u64..10_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..20)
}

#[derive(Default)]
struct Server {
    started: u64,
    up_at: u64,
    /// Who has it, its token, and until when.
    leases: BTreeMap<AgentName, (usize, i64, u64)>,
    /// Rows that somebody holds until then.
    rows: BTreeMap<AgentName, u64>,
    token: i64,
}

impl Server {
    fn is_free(&self, agent: &AgentName, now: u64) -> bool {
        self.rows.get(agent).is_none_or(|until| *until <= now)
    }

    fn claim(&mut self, who: usize, agent: &AgentName, now: u64) -> Result<i64, String> {
        let ttl = TTL.as_millis() as u64;
        let lease = self.leases.get(agent);
        let led = lease.is_some_and(|(by, _, until)| *by != who && (*until).max(self.started + ttl) >= now);
        if led || !self.is_free(agent, now) {
            return Err("another".into());
        }
        self.token += 1;
        self.leases.insert(agent.clone(), (who, self.token, now + ttl));
        Ok(self.token)
    }

    fn release(&mut self, given: &[(AgentName, i64)]) {
        for (agent, token) in given {
            if self.leases.get(agent).is_some_and(|(_, ours, _)| ours == token) {
                self.leases.remove(agent);
            }
        }
    }

    /// Which are kept, and which are lost.
    fn renew(&mut self, held: &[(AgentName, i64)], now: u64) -> (Vec<AgentName>, Vec<AgentName>) {
        let (mut kept, mut lost) = (Vec::new(), Vec::new());
        for (agent, token) in held {
            let free = self.is_free(agent, now);
            match self.leases.get_mut(agent).filter(|(_, ours, _)| ours == token) {
                Some((.., until)) if free => {
                    *until = now + TTL.as_millis() as u64;
                    kept.push(agent.clone());
                }
                Some(_) => {}
                None => lost.push(agent.clone()),
            }
        }
        (kept, lost)
    }
}

/// A process: what it leads, and what it runs.
struct Process {
    leads: Leads,
    cut: u64,
    runs: BTreeSet<AgentName>,
    /// Hosts that were told to go may live so long.
    goes_until: u64,
}

impl Process {
    fn of(team: &[AgentName]) -> Self {
        let mut leads = Leads::new(TTL, KILL, vec![team.to_vec()]);
        team.iter().for_each(|agent| leads.want(agent.clone()));
        Self { leads, cut: 0, runs: BTreeSet::new(), goes_until: 0 }
    }

    fn take_in(&mut self, changes: Vec<(AgentName, Change)>, now: u64) {
        for (agent, change) in changes {
            match change {
                Change::Won(_) => drop(self.runs.insert(agent)),
                Change::Lost { .. } if self.runs.remove(&agent) => {
                    self.goes_until = now + KILL.as_millis() as u64
                }
                Change::Lost { .. }
                | Change::StandsBy { .. }
                | Change::GivenBack { .. }
                | Change::Unled { .. }
                | Change::Led => {}
            }
        }
    }

    /// Asks; the answer comes `delay` later.
    fn ask(&mut self, who: usize, server: &mut Server, now: u64, delay: u64, jitter: f64) {
        let (asked, answered) = (at(now), at(now + delay));
        let (reached, up) = (now >= self.cut, now >= server.up_at);
        let held = self.leads.held();
        if !held.is_empty() {
            let said = match (reached, up) {
                (false, _) => Said::Nothing("cut".into()),
                (true, false) => Said::Down,
                (true, true) => Said::Told(server.renew(&held, now)),
            };
            let changes = self.leads.renewed(&held, said, asked, answered);
            self.take_in(changes, now);
        }
        let (given, changes) = self.leads.give_back(answered, jitter);
        self.take_in(changes, now);
        if reached && up {
            server.release(&given);
            let claims = self.leads.wanted(asked).into_iter().map(|agent| {
                let claim = server.claim(who, &agent, now);
                (agent, claim)
            });
            let claims = claims.collect();
            let changes = self.leads.claimed(claims, asked);
            self.take_in(changes, now);
        }
    }
}

proptest! {
    /// Two processes, a server that crashes, lines that are cut, rows that are held: of a name, and of a group, hosts, which
    /// live for `KILL` after they were told to go, never run in two places, and only together; and in the end they run, also where
    /// each of two has what the other needs.
    #[test]
    fn a_group_never_runs_in_two_places(members in 1usize..4, steps in steps(), delay in 1u64..400,
                                        opposed: bool, jitters in prop::collection::vec(0.0..1.0f64, 97)) {
        let team: Vec<AgentName> = ["milkbot", "atlas", "scout"][..members].iter().map(|n| n.parse().unwrap()).collect();
        let mut server = Server::default();
        let mut order = team.clone();
        if opposed {
            // Each begins with what the other needs last.
            order.reverse();
        }
        let mut processes = [Process::of(&team), Process::of(&order)];
        let mut jitters = jitters.into_iter().cycle();
        let mut steps = steps.into_iter();
        let (mut now, mut next_step, mut calm_since) = (20_000u64, 20_000u64, 0);
        for tick in 0..10_000u64 {
            now += 100;
            if now >= next_step && calm_since == 0 {
                match steps.next() {
                    None => calm_since = now,
                    Some(Step::Crash { away }) => {
                        (server.up_at, server.started) = (now + away, now + away);
                        next_step = now + away;
                    }
                    Some(Step::Cut { who, away }) => processes[who].cut = now + away,
                    Some(Step::Hold { member, away }) => {
                        server.rows.insert(team[member % members].clone(), now + away);
                    }
                    Some(Step::Wait(millis)) => next_step = now + millis,
                }
            }
            for (who, process) in processes.iter_mut().enumerate() {
                // Each asks at its own pace.
                if (tick + who as u64 * 3).is_multiple_of(10) {
                    process.ask(who, &mut server, now, delay, jitters.next().unwrap());
                }
                let changes = process.leads.expired(at(now), "silence");
                process.take_in(changes, now);
            }
            let run = processes.iter().filter(|p| !p.runs.is_empty() || p.goes_until > now).count();
            prop_assert!(run <= 1, "two run at {now}");
            let whole = |p: &Process| p.runs.is_empty() || p.runs.len() == members;
            prop_assert!(processes.iter().all(whole), "a part of the group runs at {now}");
            // Longer than any fault lasts, and three leases more.
            if calm_since > 0 && now > calm_since + if opposed { 400_000 } else { 70_000 } {
                break;
            }
        }
        prop_assert!(processes.iter().any(|p| p.runs.len() == members), "nobody runs it");
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
