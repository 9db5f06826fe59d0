//! What others say becomes one line of a bearable length: it goes into status, history, journal and terminals.

/// `text` on one line, at most `most` characters; what was cut off shows as `…`.
pub fn sentence(text: &str, most: usize) -> String {
    let mut line: String = text
        .trim()
        .chars()
        .take(most + 1)
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() || turns(c) => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect();
    if let Some((end, _)) = line.char_indices().nth(most) {
        line.truncate(end);
        line.pop();
        line.push('…');
    }
    line
}

/// Whether it makes what follows read in another direction: so one text would pass for another.
fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_and_no_longer() {
        assert_eq!(sentence(" one\ntwo\u{1b}[31m ", 40), "one two\u{fffd}[31m");
        assert_eq!(sentence("ünïcödé", 7), "ünïcödé");
        assert_eq!(sentence("ünïcödé!", 7), "ünïcöd…");
        assert_eq!(sentence("a\u{202e}b", 7), "a\u{fffd}b");
        assert_eq!(sentence("", 7), "");
    }
}
