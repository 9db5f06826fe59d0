//! Serde's messages in the words of an operator: what is wrong, and what to do.

use crate::mistakes::did_you_mean;

/// What `message` about the key at `keys` means.
pub(crate) fn explain(keys: &[String], message: &str) -> (String, String) {
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let here = at(&names);
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, ""));
    if let Some(wrong) = found.strip_prefix("unknown variant ") {
        return (format!("{here} cannot be {wrong}"), remedy(wrong.trim_matches('`'), expected));
    }
    if found.starts_with("unknown field ") {
        let name = names.last().copied().unwrap_or_default();
        return (format!("unknown key {here}"), remedy(name, expected));
    }
    for (prefix, verb) in
        [("invalid type: ", "cannot be"), ("invalid value: ", "cannot be"), ("invalid length ", "has")]
    {
        if let Some(wrong) = found.strip_prefix(prefix) {
            let wrong = match wrong {
                "map" => "a table",
                "sequence" => "a list",
                other => other,
            };
            return (format!("{here} {verb} {wrong}"), format!("write {}", plain(expected)));
        }
    }
    for (separator, verb) in [("; write ", "write"), (": use ", "use")] {
        if let Some((what, how)) = message.split_once(separator) {
            return (format!("{here}: {what}"), format!("{verb} {how}"));
        }
    }
    (format!("{here}: {message}"), "see `openclaw config schema`".into())
}

/// `` `concurrency` in [agents.atlas] ``
pub(crate) fn at(keys: &[&str]) -> String {
    match keys.split_last() {
        None => "the file".into(),
        Some((key, [])) => format!("`{key}`"),
        Some((key, table)) => format!("`{key}` in [{}]", table.join(".")),
    }
}

fn remedy(word: &str, expected: &str) -> String {
    let known: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    did_you_mean(word, known)
}

/// What a Rust type is to somebody who writes TOML.
fn plain(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "string" | "path string" => "a text in quotes",
        "a sequence" => "a list: [\"…\"]",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(keys: &[&str], message: &str) -> String {
        let keys: Vec<_> = keys.iter().map(|key| key.to_string()).collect();
        let (what, remedy) = explain(&keys, message);
        format!("{what}; {remedy}")
    }

    #[test]
    fn the_words_are_the_operators() {
        let atlas = ["agents", "atlas", "concurency"];
        assert_eq!(
            told(&atlas, "unknown field `concurency`, expected one of `restart`, `concurrency`"),
            "unknown key `concurency` in [agents.atlas]; did you mean `concurrency`?"
        );
        assert_eq!(
            told(&["dragons"], "unknown field `dragons`, expected `daemon` or `tasks`"),
            "unknown key `dragons`; known are `daemon`, `tasks`"
        );
        assert_eq!(
            told(&["agents", "atlas", "concurrency"], "invalid type: string \"a, expected b\", expected u32"),
            "`concurrency` in [agents.atlas] cannot be string \"a, expected b\"; write a whole number, 0 or more"
        );
        assert_eq!(
            told(&["supervision", "restart"], "unknown variant `alway`, expected one of `always`, `never`"),
            "`restart` in [supervision] cannot be `alway`; did you mean `always`?"
        );
        assert_eq!(told(&["daemon"], "odd"), "`daemon`: odd; see `openclaw config schema`");
    }
}
