use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules {
    cooldown: TimeDelta::minutes(60),
    escalate: TimeDelta::minutes(15),
    summary: TimeDelta::minutes(60),
    speaks: true,
};

fn at(minutes: i64) -> DateTime<Utc> {
    // The beginning of a period.
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::minutes(minutes)
}

/// An alert, whoever looks at it, and what they say.
struct Story {
    alert: Alert,
    told: Told,
    due: Option<DateTime<Utc>>,
    rules: Rules,
    said: Vec<(i64, Say)>,
    signals: Vec<Signal>,
    closed: bool,
    summarized: Option<i64>,
}

impl Story {
    fn new(level: Level, rules: Rules) -> Self {
        let alert = Alert {
            id: 1,
            level,
            source: "atlas".into(),
            text: "it failed".into(),
            key: "atlas:x".into(),
            count: 1,
            created_at: at(0),
            last_at: at(0),
            acked_at: None,
            acked_by: None,
            message: None,
            delivered_at: None,
            undelivered: None,
            resolved_at: None,
            resolution: None,
            told: serde_json::Value::Null,
            revision: 0,
        };
        let (told, due) = (Told::default(), Some(at(0)));
        Self { alert, told, due, rules, said: vec![], signals: vec![], closed: false, summarized: None }
    }

    /// As the service does: whenever it is due, up to that minute.
    fn until(&mut self, minute: i64) -> &mut Self {
        let mut looks = 0;
        while let Some(due) = self.due.filter(|due| *due <= at(minute)) {
            looks += 1;
            assert!(looks < 3000, "it is looked at without end");
            let now = due;
            let period = self.rules.period(now);
            let look = look(&self.alert, &self.told, &self.rules, self.summarized == Some(period), now);
            assert!(look.due.is_none_or(|due| due > now), "{look:?}");
            if let Some(say) = look.say {
                self.said.push(((now - at(0)).num_minutes(), say));
                self.summarized = if say.stands_alone() { self.summarized } else { Some(period) };
            }
            self.signals.extend(look.signal);
            self.alert.acked_at = self.alert.acked_at.filter(|_| !look.anew);
            (self.told, self.due) = (look.told, look.due);
            if look.closes {
                (self.closed, self.alert.resolved_at) = (true, Some(now));
            }
        }
        self
    }

    fn again(&mut self, minute: i64, times: u32) -> &mut Self {
        self.until(minute);
        // As the store does.
        if self.alert.resolved_at.is_some_and(|over| at(minute) - over < self.rules.cooldown) {
            (self.alert.resolved_at, self.alert.acked_at) = (None, None);
        }
        if self.alert.resolved_at.is_none() {
            self.alert.count += times;
            self.alert.last_at = at(minute);
            self.due = Some(at(minute));
        }
        self.until(minute)
    }

    fn ack(&mut self, minute: i64) -> &mut Self {
        self.until(minute);
        if self.alert.resolved_at.is_none() {
            (self.alert.acked_at, self.due) = (Some(at(minute)), Some(at(minute)));
        }
        self.until(minute)
    }

    fn over(&mut self, minute: i64) -> &mut Self {
        self.until(minute);
        if self.alert.resolved_at.is_none() {
            (self.alert.resolved_at, self.due) = (Some(at(minute)), Some(at(minute)));
        }
        self.until(minute)
    }
}

#[test]
fn a_critical_alert_is_said_at_once_and_louder_until_somebody_knows() {
    let mut story = Story::new(Level::Critical, RULES);
    story.until(24 * 60 + 60);
    let louder = |n| Say::Louder(n);
    assert_eq!(story.said, [(0, Say::First), (15, louder(1)), (30, louder(2)), (45, louder(3))]);
    assert!(story.closed && story.due.is_none());

    let mut story = Story::new(Level::Critical, RULES);
    story.ack(20).until(600);
    assert_eq!(story.said, [(0, Say::First), (15, louder(1))]);
    assert_eq!(story.signals, [Signal::Raised]);
}

#[test]
fn ten_thousand_failures_are_one_alert_and_one_summary() {
    let mut story = Story::new(Level::Critical, RULES);
    for _ in 1..10_000 {
        story.again(1, 1);
    }
    story.ack(2).until(23 * 60);
    assert_eq!(story.said, [(0, Say::First), (60, Say::Summary(9_999))]);
}

#[test]
fn what_goes_on_after_the_cooldown_is_said_again() {
    let mut story = Story::new(Level::Critical, RULES);
    story.ack(10).again(69, 1).again(71, 1).until(80);
    let said = [(0, Say::First), (69, Say::Summary(1)), (71, Say::Again)];
    assert_eq!(story.said, said, "an acknowledgement is good for a cooldown");
    story.until(90);
    assert_eq!(story.said[3], (86, Say::Louder(1)), "and for the old round alone");
}

#[test]
fn warnings_wait_for_the_summary_and_information_for_nobody() {
    let mut story = Story::new(Level::Warning, RULES);
    story.again(5, 2).until(59);
    assert_eq!(story.said, []);
    story.until(200);
    assert_eq!(story.said, [(60, Say::Summary(3))]);
    story.again(210, 1).again(215, 4).until(400);
    assert_eq!(story.said[1..], [(210, Say::Summary(1)), (240, Say::Summary(4))]);

    let mut story = Story::new(Level::Info, RULES);
    story.again(5, 2).until(3000);
    assert_eq!(story.said, []);
    assert!(story.closed);
}

#[test]
fn who_was_told_hears_that_it_is_over_once() {
    let mut story = Story::new(Level::Critical, RULES);
    story.over(10).until(500);
    assert_eq!(story.said, [(0, Say::First), (10, Say::Over)]);
    assert_eq!(story.signals, [Signal::Raised, Signal::Over]);
    let mut story = Story::new(Level::Warning, RULES);
    story.over(10).until(500);
    assert_eq!(story.said, [(60, Say::Summary(1))]);
}

#[test]
fn what_comes_and_goes_is_said_once_in_a_cooldown_and_else_in_the_summary() {
    let mut story = Story::new(Level::Critical, RULES);
    for minute in 1..=25 {
        story.over(5 * minute - 2).again(5 * minute, 1);
    }
    story.over(128).until(500);
    let said = [
        (0, Say::First),
        (3, Say::Over),
        (60, Say::Summary(11)),
        (60, Say::Again),
        (63, Say::Over),
        (120, Say::Summary(11)),
        (120, Say::Again),
        (123, Say::Over),
        (180, Say::Summary(1)),
    ];
    assert_eq!(story.said, said);
    assert_eq!(story.told.count, 26);
}

#[test]
fn what_comes_back_and_stays_is_said_louder_and_its_end_is_told() {
    let mut story = Story::new(Level::Critical, RULES);
    // Who knew of it knows of the last time.
    story.ack(1).over(2).again(10, 1).over(30).until(500);
    let said = [(0, Say::First), (2, Say::Over), (25, Say::Louder(1)), (30, Say::Over)];
    assert_eq!(story.said, said);
    // One that the summary tells of.
    let mut story = Story::new(Level::Critical, RULES);
    story.over(2).again(55, 1).until(60);
    assert_eq!(story.said[2..], [(60, Say::Summary(1))]);
    story.over(62).until(500);
    assert_eq!(story.said[3..], [(62, Say::Over)]);
}

#[test]
fn a_warning_that_becomes_critical_is_said() {
    let mut story = Story::new(Level::Warning, RULES);
    story.until(5);
    story.alert.level = Level::Critical;
    story.again(6, 1);
    assert_eq!(story.said, [(6, Say::First)]);
}

#[test]
fn where_nobody_can_be_told_it_waits() {
    let mut story = Story::new(Level::Critical, Rules { speaks: false, ..RULES });
    story.until(30);
    assert_eq!((story.said.len(), &story.signals[..]), (0, &[Signal::Raised][..]));
    story.rules.speaks = true;
    story.until(32);
    assert_eq!(story.said.len(), 1);
    // It does not wait for ever, and nobody looks at it all the time.
    let mut story = Story::new(Level::Warning, Rules { speaks: false, ..RULES });
    story.until(2 * 24 * 60);
    assert!(story.closed && story.said.is_empty() && story.due.is_none());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Again(u32),
    Ack,
    Over,
    Nothing,
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let step = prop_oneof![
        5 => (1..50_u32).prop_map(Step::Again),
        2 => Just(Step::Ack),
        1 => Just(Step::Over),
        3 => Just(Step::Nothing),
    ];
    prop::collection::vec((0..90_i64, step), 0..40)
}

proptest! {
    #[test]
    fn nothing_is_said_too_often_and_nothing_is_kept_from_anybody(
        steps in steps(),
        level in prop_oneof![Just(Level::Info), Just(Level::Warning), Just(Level::Critical)],
        escalate in prop_oneof![Just(15), Just(24 * 60)],
    ) {
        let rules = Rules { escalate: TimeDelta::minutes(escalate), ..RULES };
        let (mut story, mut minute, mut acked) = (Story::new(level, rules), 0, None);
        for (later, step) in steps {
            minute += later;
            let before = story.said.len();
            match step {
                Step::Again(times) => {
                    let was_over = story.until(minute).alert.resolved_at.is_some();
                    story.again(minute, times);
                    // It came back: nobody knows of that.
                    acked = acked.filter(|_| !was_over);
                }
                Step::Ack => {
                    story.ack(minute);
                    acked = Some(story.said.len());
                }
                Step::Over => drop(story.over(minute)),
                Step::Nothing => drop(story.until(minute)),
            }
            // Whoever said that they know is not reminded of it.
            if acked.is_some_and(|acked| before >= acked) {
                let since = &story.said[acked.unwrap_or_default()..];
                let anew = since.iter().position(|(_, say)| *say == Say::Again).unwrap_or(since.len());
                prop_assert!(since[..anew].iter().all(|(_, say)| !matches!(say, Say::Louder(_))), "{:?}", story.said);
            }
        }
        story.until(minute + 5 * 24 * 60);
        let said = &story.said;
        // All has been told, and it ends.
        prop_assert!(story.due.is_none() && story.alert.resolved_at.is_some(), "{said:?}");
        prop_assert_eq!(story.told.count, story.alert.count, "{:?}", said);
        prop_assert!(said.iter().filter(|(_, say)| *say == Say::First).count() <= 1);
        // Between two ends something else was said.
        let over = |(_, say): &&(i64, Say)| *say == Say::Over;
        prop_assert!(said.windows(2).all(|pair| !pair.iter().all(|said| over(&said))), "{said:?}");
        if level == Level::Info {
            prop_assert!(said.is_empty());
        }
        if level == Level::Warning {
            prop_assert!(said.iter().all(|(_, say)| !say.stands_alone()), "{said:?}");
        }
        // One summary in a period; first, again and again with a cooldown between.
        let periods: Vec<_> = said.iter().filter(|(_, say)| !say.stands_alone()).map(|(at, _)| at / 60).collect();
        prop_assert!(periods.windows(2).all(|pair| pair[0] < pair[1]), "{said:?}");
        let loud: Vec<_> = said.iter().filter(|(_, say)| matches!(say, Say::First | Say::Again)).collect();
        prop_assert!(loud.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 60), "{said:?}");
        let louder: Vec<_> = said.iter().filter_map(|(_, say)| if let Say::Louder(n) = say { Some(*n) } else { None }).collect();
        prop_assert!(louder.iter().all(|n| (1..=LOUDER).contains(n)), "{said:?}");
    }

    /// Whoever looks twice, as two processes may, would keep the same: the second finds the first's revision.
    #[test]
    fn a_look_depends_on_what_it_looks_at_alone(count in 1..9_u32, minutes in 0..200_i64, said in any::<bool>()) {
        let mut story = Story::new(Level::Critical, RULES);
        story.alert.count = count;
        if said {
            story.until(0);
        }
        let one = look(&story.alert, &story.told, &RULES, false, at(minutes));
        prop_assert_eq!(&one, &look(&story.alert, &story.told, &RULES, false, at(minutes)));
        let next = look(&story.alert, &one.told, &RULES, true, at(minutes));
        prop_assert_eq!(next.say, None);
    }
}
