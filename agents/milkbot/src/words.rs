//! Small formatting.

use openclaw_agent_api::chrono::{DateTime, Utc};

/// A command's word as it is compared: lower case, without the `@bot` that Telegram adds in groups.
pub fn command(word: &str) -> String {
    word.split('@').next().unwrap_or(word).to_lowercase()
}

/// A span in its largest whole unit; a negative one is none.
pub fn span(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min", s / 60),
        s @ 3_600..86_400 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}

/// How long ago `at` was.
pub fn ago(now: DateTime<Utc>, at: DateTime<Utc>) -> String {
    format!("{} ago", span(now.signed_duration_since(at).num_seconds()))
}

/// The text on one line, at most `limit` characters.
pub fn short(text: &str, limit: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The text as it is, at most `limit` characters.
pub fn clipped(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// The one of `known` that `word` is most likely a slip of.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known.into_iter().min_by_key(|name| strsim::osa_distance(word, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_in_their_largest_unit() {
        let shown = [-5, 0, 59, 60, 3_599, 3_600, 86_400, 900_000].map(span);
        assert_eq!(shown, ["0 s", "0 s", "59 s", "1 min", "59 min", "1 h", "1 d", "10 d"]);
    }

    #[test]
    fn text_is_cut_between_characters_and_put_on_one_line() {
        assert_eq!(short("a\n b", 9), "a b");
        assert_eq!(short("äöü", 2), "äö…");
        assert_eq!(short("äöü", 3), "äöü");
    }

    #[test]
    fn a_command_is_compared_without_case_and_bot() {
        assert_eq!(command("/Status@milk_bot"), "/status");
    }
}
