use std::fs;
use std::path::Path;

use super::*;
use crate::mistakes::Mistakes;
use crate::units::ByteSize;

/// What is told of these files.
fn told(files: &[(&str, &str)]) -> (Providers, String) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let (providers, list) = load(dir.path());
    let told = Mistakes { file: "T".into(), list }.to_string();
    (providers, told.replace(&format!("{}/", dir.path().display()), ""))
}

#[test]
fn what_is_shipped_is_well_and_has_the_defaults() {
    let (providers, told) = told(&[]);
    assert_eq!(told, "0 mistakes in the configuration");
    let chat: Vec<_> = providers.in_order(true).into_iter().map(|(name, _)| name).collect();
    assert_eq!(chat, ["minimax", "openrouter", "deepseek", "xai"]);
    let search: Vec<_> = providers.in_order(false).into_iter().map(|(name, _)| name).collect();
    assert_eq!(search, ["brave", "perplexity"]);
    let default = FailOver {
        chat: providers.failover.chat.clone(),
        search: providers.failover.search.clone(),
        ..FailOver::default()
    };
    assert_eq!(providers.failover, default);
    assert_eq!(providers.limits.of("none of these"), ContextLimit::default());
    let models = providers.named.values().flat_map(|provider| &provider.models);
    let without: Vec<_> = models.filter(|model| !providers.limits.models.contains_key(&model.name)).collect();
    assert!(without.is_empty(), "{without:?}");
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    assert_eq!(load(&installed).0, providers);
}

#[test]
fn own_files_take_the_place_of_all_that_are_shipped() {
    let own = "base_url = 'http://127.0.0.1:11434/v1'\nmodels = [{ name = 'llama' }]\nmax_answer = '2 MiB'";
    let (providers, told) = told(&[("providers/own.toml", own), ("providers/.own.toml", "x")]);
    assert_eq!(told, "0 mistakes in the configuration");
    assert_eq!(providers.in_order(true).len(), 1);
    assert!(providers.in_order(false).is_empty());
    let own = &providers.named["own"];
    assert!(own.is_configured(&crate::Secrets::default()));
    assert_eq!((own.max_answer, own.kind), (ByteSize::mib(2), ProviderKind::Chat));
}

#[test]
fn every_mistake_of_every_file_is_told_with_its_line() {
    let files = [
        ("providers/Bad.toml", "base_url = 'https://x'\nmodels = [{ name = 'm' }]"),
        ("providers/empty.toml", ""),
        (
            "providers/wrong.toml",
            "base_ur = 'x'\nbase_url = 'http://example.com'\nkey = 'sk-hidden'\ntimeout = 5\nmodels = [{ name = '', input = -1 }]",
        ),
        (
            "failover.json",
            "{\n \"chat\": [\"wrnog\", \"wrong\", \"wrong\"],\n \"on\": [\"429\", \"401\"],\n \"rounds\": 0,\n \"pause\": null,\n \"breaker\": {\"windw\": \"1m\"}\n}",
        ),
        (
            "context-limits.json",
            "{\n \"models\": {\"m\": {\"context\": 10, \"answer\": 20}},\n \"x\": 1e999\n}",
        ),
    ];
    let (_, told) = told(&files);
    let told: Vec<_> = told.lines().collect();
    assert!(!told.join("\n").contains("hidden"), "{told:#?}");
    for (place, what) in [
        ("providers/Bad.toml: ", "is no provider's; use 1 to 32"),
        ("providers/empty.toml: ", "`base_url` is missing"),
        ("providers/empty.toml: ", "`models` is missing"),
        ("providers/wrong.toml:1: ", "unknown key `base_ur`; did you mean `base_url`?"),
        ("providers/wrong.toml:2: ", "`base_url` is no address of an API"),
        ("providers/wrong.toml:3: ", "`key` is no name of a secret"),
        ("providers/wrong.toml:4: ", "`timeout` cannot be integer `5`"),
        ("providers/wrong.toml:5: ", "a price is a number"),
        ("providers/wrong.toml:5: ", "a model has no name"),
        ("failover.json:3: ", "401 is never failed over"),
        ("failover.json:2: ", "`wrong` stands in `chat` twice"),
        ("failover.json:4: ", "`rounds` is 0; write 1 to 10"),
        ("failover.json:5: ", "cannot be null"),
        ("failover.json:6: ", "unknown key `windw` in [breaker]; did you mean `window`?"),
        ("context-limits.json:2: ", "leaves no room for a question"),
        ("context-limits.json:3: ", "unknown key `x`"),
    ] {
        let found = told.iter().any(|line| line.starts_with(place) && line.contains(what));
        assert!(found, "{place}{what} is not in {told:#?}");
    }
    assert_eq!(told.len(), 17, "{told:#?}");
}

#[test]
fn orders_name_what_is_there_and_once() {
    let own = "base_url = 'https://x'\nmodels = [{ name = 'm' }]";
    let order = "{\"chat\": [\"onw\", \"own\", \"own\"],\n\"search\": [\"own\"]}";
    let (_, told) = told(&[("providers/own.toml", own), ("failover.json", order)]);
    for what in [
        "failover.json:1: `onw` in `chat` has no file providers/onw.toml; did you mean `own`?",
        "failover.json:1: `own` stands in `chat` twice; name it once",
        "failover.json:2: `own` in `search` is a provider of the other kind",
    ] {
        assert!(told.contains(what), "{what}: {told}");
    }
}

#[test]
fn a_fault_of_syntax_is_told_with_its_place() {
    for text in ["", "{", "[]", "{\"rounds\": 1,}", "{\"rounds\": 1, \"rounds\": 2}", "\u{feff}{}"] {
        let (_, told) = told(&[("failover.json", text)]);
        assert!(told.starts_with("failover.json:1: "), "{text}: {told}");
        assert!(told.ends_with("1 mistake in the configuration"), "{text}: {told}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_brings_the_loader_down(text in "\\PC{0,200}", json in "[\\[\\]{}\",:0-9a-z. \n]{0,80}") {
        told(&[("failover.json", &json), ("providers/x.toml", &text), ("context-limits.json", &text)]);
    }
}
