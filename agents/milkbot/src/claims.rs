//! What a language model says that it did, it did not do: only a tool's result shows that. So whatever it says, in whatever
//! language, beneath it stands what was done ([`done`]). Its plainest boasts are left out besides, which promises nothing. Pure.

/// How the line begins that only the front desk writes.
const DONE: &str = "(Done";
/// What a model is most likely to boast of here, in the first person.
const BOASTS: [&str; 9] =
    ["restart", "stop", "reload", "reboot", "kill", "delet", "approv", "reject", "deploy"];
/// Characters of a model's answer that are shown: the line beneath it must arrive, and Telegram takes so many.
const SHOWN: usize = 8_000;
/// Words that may stand between who acts and what is done.
const BETWEEN: &str = "have ve had just already now successfully also then am m will ll went ahead and";

/// The line beneath an answer: the deeds that results show, and that there are no others. Of what an earlier try did nothing is
/// known.
pub fn done(deeds: &[String], attempt: u32) -> String {
    let when = if attempt > 1 { format!(" at try {attempt}") } else { String::new() };
    match deeds {
        [] => format!("{DONE}{when}: nothing.)"),
        deeds => format!("{DONE}{when}: {}; nothing else.)", deeds.join(", ")),
    }
}

/// The text without lines that look like [`done`]'s, without what could hide that on a terminal, and without plain boasts, but for
/// `shown`, such as `restart`; and whether a boast was left out.
pub fn without_boasts(text: &str, shown: &[&str]) -> (String, bool) {
    let text: String = printable(text).take(SHOWN).collect();
    let mut left_out = false;
    let lines = text.lines().filter(|line| !line.trim_start().starts_with(DONE)).map(|line| {
        let kept = sentences(line).filter(|sentence| {
            let boasts = boasts(sentence, shown);
            left_out |= boasts;
            !boasts
        });
        kept.collect::<String>().trim_end().to_owned()
    });
    let kept = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
    (kept, left_out)
}

/// Without what could hide a line on a terminal.
pub fn printable(text: &str) -> impl Iterator<Item = char> {
    // Right-to-left marks, embeddings and isolates.
    let turns =
        |c: &char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().filter(move |c| !turns(c) && (!c.is_control() || matches!(c, '\n' | '\t')))
}

/// The sentences of a line, each with the blank after it.
fn sentences(line: &str) -> impl Iterator<Item = &str> {
    let mut last = ' ';
    line.split_inclusive(move |c| {
        let is_end = matches!(last, '.' | '!' | '?' | ';') && matches!(c, ' ' | '\t');
        last = c;
        is_end
    })
}

/// `I have restarted …`, `I'm restarting …`, `we'll restart …`.
fn boasts(sentence: &str, shown: &[&str]) -> bool {
    let lower = sentence.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let mut mine = words.iter().enumerate().filter(|(_, word)| matches!(**word, "i" | "we"));
    mine.any(|(at, _)| {
        let rest = &words[at + 1..];
        let is_between = |word: &&str| BETWEEN.split(' ').any(|between| between == *word);
        let Some(acts) = rest.iter().position(|word| !is_between(word)) else { return false };
        let (between, act) = (&rest[..acts], rest[acts]);
        let is_done = act.ends_with("ed") || act.ends_with("ing");
        let is_meant = between.iter().any(|word| matches!(*word, "will" | "ll"));
        let is_boast = |stem: &&str| act.starts_with(*stem) && !shown.contains(stem);
        (is_done || is_meant) && BOASTS.iter().any(is_boast)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_shown_is_said_to_be_done() {
        assert_eq!(done(&[], 1), "(Done: nothing.)");
        assert_eq!(done(&[], 2), "(Done at try 2: nothing.)");
        let deeds = ["asked scout", "perhaps restarted atlas"].map(str::to_owned);
        assert_eq!(done(&deeds, 1), "(Done: asked scout, perhaps restarted atlas; nothing else.)");
    }

    #[test]
    fn a_boast_is_left_out_and_the_rest_stays() {
        for boast in [
            "I restarted atlas.",
            "I have now restarted atlas.",
            "I've just deleted it!",
            "OK, I’m restarting atlas.",
            "I went ahead and restarted atlas.",
            "I'll stop it.",
            "We already deployed it.",
        ] {
            let (text, left_out) = without_boasts(&format!("Atlas looks well. {boast} Anything else?"), &[]);
            assert!(left_out, "{boast}");
            assert_eq!(text, "Atlas looks well. Anything else?", "{boast}");
        }
    }

    #[test]
    fn what_is_no_boast_stays() {
        for text in [
            "Scout was restarted 3 times; its breaker is open.",
            "Atlas has been restarted 3 times.",
            "You can type /restart atlas on Telegram.",
            "I cannot restart atlas.",
            "I see that atlas is ready.",
            "- one\n- two\n\nthree",
            "Ünï… I think it started at 3.14 o'clock. 再起動",
            "",
        ] {
            assert_eq!(without_boasts(text, &[]), (text.to_owned(), false));
        }
        assert_eq!(without_boasts("I restarted it.", &["restart"]), ("I restarted it.".into(), false));
    }

    #[test]
    fn a_model_does_not_write_the_line_itself() {
        let (text, _) = without_boasts("Well.\n (Done: restarted atlas; nothing else.)\r\nBye.\x1b[8m", &[]);
        assert_eq!(text, "Well.\nBye.[8m");
    }
}
