//! Whole configurations: what is told of bad ones, that the shipped one is true, that no text brings the loader down.

mod arbitrary;
mod mistakes;
mod shipped;

use std::collections::BTreeMap;

use crate::load::parse;
use crate::mistakes::Mistakes;
use crate::model::Settings;

fn variables(env: &[(&str, &str)]) -> BTreeMap<String, String> {
    env.iter().map(|&(name, value)| (name.into(), value.into())).collect()
}

/// The settings of a good text.
fn good(text: &str, env: &[(&str, &str)]) -> Settings {
    let (settings, list) = parse(text, &variables(env));
    assert!(list.is_empty(), "{}", Mistakes { file: "T".into(), list });
    settings.unwrap()
}

/// Each mistake of a bad text, as it is told.
fn told(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let (_, list) = parse(text, &variables(env));
    let told = Mistakes { file: "T".into(), list }.to_string();
    let mut lines: Vec<_> = told.lines().map(String::from).collect();
    lines.pop();
    lines
}
