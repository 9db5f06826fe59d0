//! How a reply is formatted and split. Pure.
//!
//! Agents write plain text; of Markdown only what they are likely to mean is read: fenced and inline code, and bold. What is
//! read becomes spans, of which Telegram makes *entities*; all else is shown as it is.

/// The longest message, in UTF-16 units after its entities are read: below Telegram's 4,096, so that a count that differs in
/// a corner costs nothing. <https://core.telegram.org/bots/api#sendmessage>
pub const LONGEST: usize = 4000;

/// How a span is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Bold.
    Bold,
    /// In one line, as code.
    Code,
    /// A block of code.
    Block,
}

/// A stretch of text in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What is seen.
    pub text: String,
    /// How.
    pub style: Style,
}

/// What of a text is entity and what is not.
pub fn read(text: &str) -> Vec<Span> {
    let (mut spans, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['`', '*']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some((span, after)) = entity(rest) {
            push(&mut spans, std::mem::take(&mut plain), Style::Plain);
            push(&mut spans, span.text, span.style);
            rest = after;
        } else {
            // A whole run of them, so that three are not read as two.
            let mark = &rest[..1];
            let run = rest.len() - rest.trim_start_matches(mark).len();
            plain.push_str(&rest[..run]);
            rest = &rest[run..];
        }
    }
    plain.push_str(rest);
    push(&mut spans, plain, Style::Plain);
    spans
}

fn push(spans: &mut Vec<Span>, text: String, style: Style) {
    if !text.is_empty() {
        spans.push(Span { text, style });
    }
}

/// The entity that a text begins with, and what follows it.
fn entity(text: &str) -> Option<(Span, &str)> {
    if let Some(inner) = text.strip_prefix("```") {
        let (code, after) = inner.split_once("```")?;
        // The first line may name the language.
        let code = match code.split_once('\n') {
            Some((first, code)) if first.bytes().all(|byte| byte.is_ascii_alphanumeric()) => code,
            _ => code,
        };
        let code = code.strip_suffix('\n').unwrap_or(code);
        return (!code.trim().is_empty()).then(|| (Span { text: code.into(), style: Style::Block }, after));
    }
    for (mark, style) in [("**", Style::Bold), ("`", Style::Code)] {
        if let Some((inner, after)) = text.strip_prefix(mark).and_then(|rest| rest.split_once(mark)) {
            let tight = !inner.is_empty() && inner.trim() == inner && !inner.contains(['\n', '`', '*']);
            return tight.then(|| (Span { text: inner.into(), style }, after));
        }
    }
    None
}

fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Parts of at most `most` units each. A span that fits into one is never cut; one that does not is several in its style.
pub fn split(spans: &[Span], most: usize) -> Vec<Vec<Span>> {
    let most = most.max(2);
    let (mut parts, mut part, mut room) = (Vec::new(), Vec::new(), most);
    for span in spans {
        let mut rest = span.text.as_str();
        while !rest.is_empty() {
            let size = units(rest);
            let whole = span.style != Style::Plain && units(&span.text) <= most;
            let cut = if size <= room {
                rest.len()
            } else if whole {
                0
            } else {
                // In the middle of a word only where a part of its own would not help either.
                place_to_cut(rest, room)
                    .unwrap_or_else(|| if part.is_empty() { fitting(rest, room) } else { 0 })
            };
            if cut == 0 {
                parts.push(std::mem::take(&mut part));
                room = most;
                continue;
            }
            part.push(Span { text: rest[..cut].into(), style: span.style });
            room -= units(&rest[..cut]);
            rest = &rest[cut..];
            if !rest.is_empty() {
                parts.push(std::mem::take(&mut part));
                room = most;
            }
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

/// How many bytes fit.
fn fitting(text: &str, room: usize) -> usize {
    let mut left = room;
    let cut = text.char_indices().find(|(_, c)| match left.checked_sub(c.len_utf16()) {
        Some(less) => {
            left = less;
            false
        }
        None => true,
    });
    cut.map_or(text.len(), |(at, _)| at)
}

/// The last sensible place within the room: after a paragraph, a line, a sentence, a word; each only if it does not waste much.
fn place_to_cut(text: &str, room: usize) -> Option<usize> {
    let fits = &text[..fitting(text, room)];
    for (mark, least) in [("\n\n", 2), ("\n", 3), (". ", 3), (" ", 8)] {
        if let Some(at) = fits.rfind(mark).map(|at| at + mark.len())
            && at * least >= fits.len()
        {
            return Some(at);
        }
    }
    None
}

/// What is seen of a part.
pub fn plain(part: &[Span]) -> String {
    part.iter().map(|span| span.text.as_str()).collect()
}

/// A part in Telegram's HTML: <https://core.telegram.org/bots/api#html-style>.
pub fn html(part: &[Span]) -> String {
    let mut out = String::new();
    for span in part {
        let tag = match span.style {
            Style::Plain => "",
            Style::Bold => "b",
            Style::Code => "code",
            Style::Block => "pre",
        };
        if tag.is_empty() {
            out.push_str(&escaped(&span.text));
        } else {
            out.push_str(&format!("<{tag}>{}</{tag}>", escaped(&span.text)));
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        html(&read(text))
    }

    #[test]
    fn what_is_read_of_markdown() {
        for (text, html) in [
            ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
            ("**bold** and `code`", "<b>bold</b> and <code>code</code>"),
            ("```rust\nfn x() {}\n```\nend", "<pre>fn x() {}</pre>\nend"),
            ("```a```", "<pre>a</pre>"),
            ("2 ** 3 ** 4", "2 ** 3 ** 4"),
            ("a * b * c ** d", "a * b * c ** d"),
            ("`open", "`open"),
            ("``` open", "``` open"),
            ("****", "****"),
            ("``", "``"),
            ("**a\nb**", "**a\nb**"),
            ("`<b>&`", "<code>&lt;b&gt;&amp;</code>"),
        ] {
            assert_eq!(shown(text), html, "{text}");
        }
    }

    #[test]
    fn cuts_are_at_sensible_places() {
        let cut = |text: &str, most| -> Vec<String> {
            split(&read(text), most).iter().map(|part| plain(part)).collect()
        };
        assert_eq!(cut("one two three", 8), ["one two ", "three"]);
        assert_eq!(cut("one\n\ntwo three", 9), ["one\n\n", "two three"]);
        assert_eq!(cut("one. two three", 11), ["one. ", "two three"]);
        assert_eq!(cut("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
        // Two units each, and never half of one.
        assert_eq!(cut("🦎🦎🦎", 5), ["🦎🦎", "🦎"]);
        assert_eq!(cut("say `some code` now", 12), ["say ", "some code ", "now"]);
        assert_eq!(cut("", 10), Vec::<String>::new());
    }

    #[test]
    fn an_entity_that_is_longer_than_a_part_is_several() {
        let text = format!("```\n{}```", "line of code\n".repeat(1000));
        let parts = split(&read(&text), LONGEST);
        assert!(parts.len() > 2);
        for part in &parts {
            assert!(part.iter().all(|span| span.style == Style::Block), "{part:?}");
            assert!(html(part).starts_with("<pre>line of code\n"));
        }
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        let style = prop_oneof![Just(Style::Plain), Just(Style::Bold), Just(Style::Code), Just(Style::Block)];
        let span = ("[a-z .\n🦎äß<&]{1,40}", style).prop_map(|(text, style)| Span { text, style });
        prop::collection::vec(span, 0..30)
    }

    proptest! {
        #[test]
        fn parts_are_the_whole_and_no_entity_is_cut(spans in spans(), most in 2..100_usize) {
            let parts = split(&spans, most);
            let whole: String = parts.iter().map(|part| plain(part)).collect();
            prop_assert_eq!(whole, plain(&spans));
            for part in &parts {
                prop_assert!(units(&plain(part)) <= most && !part.is_empty());
            }
            // Each entity that fits is there as it was, in its order.
            let fits = |span: &&Span| span.style != Style::Plain && units(&span.text) <= most;
            let pieces: Vec<_> = parts.iter().flatten().collect();
            let mut left = pieces.iter();
            for span in spans.iter().filter(fits) {
                prop_assert!(left.any(|piece| **piece == *span), "{:?} was cut", span);
            }
        }

        #[test]
        fn any_text_keeps_its_words(text in "[a-z`* \n]{0,60}|\\PC{0,60}") {
            let kept = |text: &str| text.chars().filter(|c| !"`*\n".contains(*c)).collect::<String>();
            let spans = read(&text);
            // A fence may name its language, which is not shown.
            if !text.contains("```") {
                prop_assert_eq!(kept(&plain(&spans)), kept(&text));
            }
            for style in ["<b>", "<code>", "<pre>"] {
                let html = html(&spans);
                prop_assert_eq!(html.matches(style).count(), html.matches(&style.replace('<', "</")).count());
            }
        }
    }
}
