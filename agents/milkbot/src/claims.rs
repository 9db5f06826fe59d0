//! What a language model says that it did, it did not do: only a tool's result shows that. Sentences that plainly claim such a
//! thing are left out. A claim has more forms, and languages, than can be listed: wherever an answer could be taken for one, it is
//! to say that nothing was done. Pure.

/// Words for things that could be done here, in the forms in which they are claimed.
const DONE: [&str; 33] = [
    "restarted",
    "started",
    "stopped",
    "killed",
    "reloaded",
    "rebooted",
    "deleted",
    "removed",
    "sent",
    "handed",
    "asked",
    "told",
    "scheduled",
    "created",
    "updated",
    "executed",
    "ran",
    "deployed",
    "opened",
    "closed",
    "reset",
    "approved",
    "rejected",
    "cancelled",
    "canceled",
    "notified",
    "raised",
    "acknowledged",
    "fixed",
    "changed",
    "configured",
    "searched",
    "fetched",
];
const DOING: [&str; 12] = [
    "restarting",
    "starting",
    "stopping",
    "reloading",
    "deleting",
    "sending",
    "running",
    "deploying",
    "closing",
    "opening",
    "fixing",
    "rebooting",
];
const DO: [&str; 10] =
    ["restart", "start", "stop", "reload", "delete", "send", "run", "deploy", "fix", "reboot"];
/// Words that may stand between who acts and what is done.
const BETWEEN: [&str; 16] = [
    "have",
    "ve",
    "had",
    "just",
    "already",
    "now",
    "successfully",
    "also",
    "then",
    "am",
    "m",
    "been",
    "has",
    "immediately",
    "went",
    "ahead",
];

/// How words for something that can be done here begin, in the languages that are likely.
const ACTS: [&str; 88] = [
    "restart",
    "start",
    "stop",
    "kill",
    "reload",
    "reboot",
    "delet",
    "remov",
    "clean",
    "clear",
    "purg",
    "eras",
    "sent",
    "notif",
    "schedul",
    "creat",
    "updat",
    "upgrad",
    "execut",
    "deploy",
    "open",
    "clos",
    "reset",
    "approv",
    "reject",
    "cancel",
    "rais",
    "acknowledg",
    "fix",
    "repair",
    "chang",
    "configur",
    "enabl",
    "disabl",
    "install",
    "paus",
    "resum",
    "terminat",
    "shut",
    "launch",
    "trigger",
    "rotat",
    "freed",
    "recover",
    "restor",
    "appl",
    "complet",
    "perform",
    "run",
    "ran",
    "revert",
    "roll",
    "mov",
    "tidied",
    // German.
    "neustart",
    "neugestart",
    "gestart",
    "gestopp",
    "beend",
    "lösch",
    "gelösch",
    "genehmig",
    "abgelehn",
    "ablehn",
    "erledig",
    "bereinig",
    "aufgeräum",
    "gesendet",
    "ausgeführ",
    "behoben",
    // French and Spanish.
    "redémarr",
    "démarr",
    "arrêt",
    "supprim",
    "approuv",
    "rejet",
    "nettoy",
    "reinici",
    "inici",
    "deten",
    "detuv",
    "borr",
    "elimin",
    "aprob",
    "rechaz",
    "limpi",
    "ejecut",
    "envi",
];
/// What it can be done to, and who says that they did; beside the components' names.
const THINGS: [&str; 36] = [
    "i",
    "we",
    "ich",
    "wir",
    "je",
    "nous",
    "mission",
    "missions",
    "disk",
    "task",
    "tasks",
    "alert",
    "alerts",
    "agent",
    "agents",
    "breaker",
    "service",
    "services",
    "unit",
    "units",
    "process",
    "daemon",
    "log",
    "logs",
    "backup",
    "budget",
    "message",
    "queue",
    "database",
    "machine",
    "server",
    "system",
    "job",
    "everything",
    "all",
    "redis",
];

/// Something that was done, or may have been, as the daemon answered.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// By or to whom.
    pub agent: &'a str,
    /// How it may be spoken of: `restarted`.
    pub words: &'a [&'a str],
}

/// Whether this answer could be taken to say that something was done which is not `shown`: it was asked for, or an action meets
/// whom it can be done to. `names` are the components'.
pub fn misleads(question: &str, answer: &str, names: &[String], shown: &[Shown]) -> bool {
    let asked = question.lines().flat_map(sentences).any(|sentence| {
        let is_request = shown.is_empty() && !sentence.trim_end().ends_with('?');
        let acts = acts(sentence, names, shown);
        !acts.is_empty() || (is_request && !named(sentence, names).is_empty())
    });
    asked
        || answer.lines().flat_map(sentences).any(|sentence| {
            let (acts, words) = (acts(sentence, names, shown), words(sentence));
            let first = words.first().filter(|word| word.ends_with("ed") || word.ends_with("ing"));
            let is_of_a_thing = words.iter().any(|word| THINGS.contains(&word.as_str()));
            let is_said = first.is_some_and(|word| acts.contains(word));
            !acts.is_empty() && (is_said || is_of_a_thing || !named(sentence, names).is_empty())
        })
}

/// The words for actions in a sentence that are not of something shown.
fn acts(sentence: &str, names: &[String], shown: &[Shown]) -> Vec<String> {
    let of = named(sentence, names);
    let is_shown = |stem: &str| {
        let done: Vec<_> =
            shown.iter().filter(|shown| shown.words.iter().any(|word| word.starts_with(stem))).collect();
        !done.is_empty() && of.iter().all(|name| done.iter().any(|shown| shown.agent == *name))
    };
    let is_act = |word: &String| ACTS.iter().any(|stem| word.starts_with(stem) && !is_shown(stem));
    words(sentence).into_iter().filter(is_act).collect()
}

/// The components that a sentence names, in whatever script it is.
fn named<'n>(sentence: &str, names: &'n [String]) -> Vec<&'n str> {
    let lower = sentence.to_lowercase();
    let parts: Vec<_> = lower.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').collect();
    names.iter().map(String::as_str).filter(|name| parts.contains(name)).collect()
}

fn words(sentence: &str) -> Vec<String> {
    let lower = sentence.to_lowercase();
    lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The text without the sentences that claim something to have been done, other than what `shown` names, such as `restarted`; and
/// whether anything was left out.
pub fn honest(text: &str, shown: &[&str]) -> (String, bool) {
    let mut left_out = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            let kept: Vec<&str> = sentences(line)
                .filter(|sentence| {
                    let claims = claims(sentence, shown);
                    left_out |= claims;
                    !claims
                })
                .collect();
            kept.concat().trim_end().to_owned()
        })
        .collect();
    (lines.join("\n").trim().to_owned(), left_out)
}

/// The sentences of a line, each with its end and the blanks after it.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let is_end = |(at, c): (usize, char)| {
        matches!(c, '.' | '!' | '?' | ';') && line[at + c.len_utf8()..].starts_with([' ', '\t'])
    };
    let mut ends: Vec<usize> =
        line.char_indices().filter(|c| is_end(*c)).map(|(at, c)| at + c.len_utf8() + 1).collect();
    ends.push(line.len());
    let mut from = 0;
    ends.into_iter().map(move |end| {
        let sentence = &line[from..end];
        from = end;
        sentence
    })
}

/// `I have restarted …`, `I'm restarting …`, `I'll restart …`, `… has been restarted`, and a bare `Done.`
fn claims(sentence: &str, shown: &[&str]) -> bool {
    let lower = sentence.to_lowercase().replace('’', "'");
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let is_shown = |word: &str| shown.contains(&word);
    if let [only] = words[..]
        && matches!(only, "done" | "restarted" | "stopped" | "started" | "sent")
    {
        return shown.is_empty();
    }
    let by_me = words.iter().enumerate().filter(|(_, word)| matches!(**word, "i" | "we"));
    let mut mine = by_me.filter_map(|(at, _)| {
        let rest = &words[at + 1..];
        if matches!(rest.first(), Some(&("will" | "ll"))) {
            return rest.get(1).filter(|word| DO.contains(*word)).copied();
        }
        let at = rest.iter().position(|word| !BETWEEN.contains(word))?;
        let what = &rest[at];
        // `I told you`, `I asked you`: that is talk.
        if matches!(*what, "told" | "asked" | "sent") && rest.get(at + 1) == Some(&"you") {
            return None;
        }
        (DONE.contains(what) || DOING.contains(what)).then_some(*what)
    });
    // Of the team's status, `was restarted` is a fact; `has been restarted` is what somebody says who did it.
    let mut passive = words.windows(3).filter_map(|w| {
        (matches!(w[0], "has" | "have") && w[1] == "been" && DONE.contains(&w[2])).then_some(w[2])
    });
    mine.any(|word| !is_shown(word)) || passive.any(|word| !is_shown(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_left_out_and_the_rest_stays() {
        for claim in [
            "I restarted atlas.",
            "I have now restarted atlas.",
            "I've just sent it to scout!",
            "OK, I’m restarting atlas.",
            "I will restart atlas",
            "I'll stop it.",
            "Atlas has been restarted.",
            "Done.",
            "We already deployed it.",
        ] {
            let (text, left_out) = honest(&format!("Atlas looks well. {claim} Anything else?"), &[]);
            let expected = if claim.ends_with(['.', '!']) {
                "Atlas looks well. Anything else?"
            } else {
                "Atlas looks well."
            };
            assert!(left_out, "{claim}");
            assert_eq!(text, expected, "{claim}");
        }
    }

    #[test]
    fn what_is_no_claim_stays() {
        for text in [
            "Scout was restarted 3 times; its breaker is open.",
            "You can type /restart atlas on Telegram.",
            "I cannot restart atlas.",
            "I see that atlas is ready.",
            "As I told you, I run on this machine.",
            "A monad is a monoid. What is done is done.",
            "- one\n- two\n\nthree",
            "I think it started at 3.14 o'clock.",
            "",
        ] {
            assert_eq!(honest(text, &[]), (text.to_owned(), false));
        }
    }

    /// The components of a team.
    fn names() -> Vec<String> {
        ["atlas", "scout", "redis-bus"].map(str::to_owned).into()
    }

    #[test]
    fn what_could_be_taken_for_a_claim_is_known_in_whatever_form_it_comes() {
        for claim in [
            "Atlas is now restarted.",
            "Atlas restarted successfully.",
            "Restarted atlas for you.",
            "Restarting atlas now...",
            "I've gone ahead and restarted atlas.",
            "I did restart atlas.",
            "The mission is approved.",
            "Your mission has now been approved.",
            "I cleaned up the disk, and 3 GB are free.",
            "Ich habe atlas neu gestartet.",
            "Atlas wurde neugestartet.",
            "J'ai redémarré atlas.",
            "He reiniciado atlas.",
            "All logs were deleted.",
            "Restarted!",
            "scout and redis-bus: stopped",
        ] {
            for question in ["how is the team?", "hello"] {
                let text = format!("All is well. {claim}");
                assert!(misleads(question, &text, &names(), &[]), "{claim}");
            }
        }
        // Whatever is answered to these.
        for request in [
            "please restart it",
            "can you clean up the disk?",
            "atlas 再起動して",
            "перезапусти atlas",
            "scout, do it now",
        ] {
            assert!(misleads(request, "Sure, no problem, it is well again.", &names(), &[]), "{request}");
        }
    }

    #[test]
    fn talk_is_not_taken_for_a_claim() {
        for (question, answer) in [
            ("how is atlas?", "Atlas is ready, and its health is ok."),
            ("what is a monad?", "A monad is a monoid in the category of endofunctors."),
            ("my cat is called Ada", "What a nice name!"),
            ("hello", "Hello! How can I help?"),
            ("what about tin?", "Tin is dear, says example.org."),
        ] {
            assert!(!misleads(question, answer, &names(), &[]), "{question} {answer}");
        }
    }

    #[test]
    fn only_what_was_done_to_whom_is_shown() {
        let shown = [Shown { agent: "atlas", words: &["restarted"] }];
        let misleads = |question: &str, answer: &str| misleads(question, answer, &names(), &shown);
        assert!(!misleads("restart atlas", "Atlas was restarted. I restarted it."));
        assert!(misleads("restart atlas and scout", "Done."));
        assert!(misleads("restart atlas", "Scout was restarted as well."));
        assert!(misleads("restart atlas", "I restarted atlas, and deleted its logs."));
    }

    #[test]
    fn what_a_tool_showed_may_be_said() {
        assert_eq!(honest("I asked scout. I restarted atlas.", &["asked"]), ("I asked scout.".into(), true));
    }
}
