use proptest::prelude::*;
use proptest::sample::Index;

use super::variables;
use crate::BUILT_IN;
use crate::load::parse;
use crate::mistakes::Mistakes;

/// Loads a text; whatever is wrong with it can be told.
fn survives(text: &str, env: &[(&str, &str)]) {
    let (settings, list) = parse(text, &variables(env));
    assert!(settings.is_some() || !list.is_empty());
    let count = list.len();
    assert_eq!(Mistakes { file: "T".into(), list }.to_string().lines().count(), count + 1);
}

proptest! {
    #[test]
    fn any_text(text in any::<String>(), value in any::<String>()) {
        survives(&text, &[("OPENCLAW_DAEMON__LOG", &value)]);
    }

    #[test]
    fn anything_like_toml(text in r#"([\[\]{}=,."'#\\\n a-z0-9_:-]|\[\[|\]\]|"""|\[agents\.|grants|settings|daemon|log|1e9){0,80}"#) {
        survives(&text, &[("OPENCLAW_AGENTS__A__SETTINGS", &text)]);
    }

    #[test]
    fn any_key_of_a_variable(name in "OPENCLAW_[A-Z_]{0,40}", value in any::<String>()) {
        survives(BUILT_IN, &[(&name, &value)]);
    }

    #[test]
    fn any_mutation_of_the_shipped_file(
        edits in prop::collection::vec((any::<Index>(), 0..40_usize, "[\\PC\n]{0,6}"), 1..12),
        uncommented in any::<bool>(),
    ) {
        let text = if uncommented { BUILT_IN.replace("\n#", "\n") } else { BUILT_IN.into() };
        let mut text: Vec<char> = text.chars().collect();
        for (at, cut, new) in edits {
            let at = at.index(text.len());
            text.splice(at..(at + cut).min(text.len()), new.chars());
        }
        survives(&text.into_iter().collect::<String>(), &[]);
    }
}

#[test]
fn depth_and_number_are_bounded() {
    let many: String = (0..5_000).map(|n| format!("k{n} = 1\n")).collect();
    let (settings, list) = parse(&many, &variables(&[]));
    assert!(settings.is_none() && list.len() == 201);
    for deep in [
        "[".repeat(100_000),
        format!("a{} = 1", ".a".repeat(100_000)),
        format!("[a{}]", ".a".repeat(100_000)),
    ] {
        survives(&deep, &[("OPENCLAW_AGENTS__A__SETTINGS", &deep)]);
    }
}

#[test]
fn a_filter_of_the_log_is_ascii() {
    survives(BUILT_IN, &[("OPENCLAW_DAEMON__LOG", " \u{1930}=\u{b42};")]);
}
