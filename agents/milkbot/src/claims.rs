//! What a language model says that it did, it did not do: only a tool's result shows that. Sentences that claim such a thing are
//! left out. Pure.

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

    #[test]
    fn what_a_tool_showed_may_be_said() {
        assert_eq!(honest("I asked scout. I restarted atlas.", &["asked"]), ("I asked scout.".into(), true));
    }
}
