//! `OPENCLAW_AGENTS__ATLAS__CONCURRENCY=8`: keys set by the environment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::document::Document;
use crate::mistakes::{Mistake, Place};

const PREFIX: &str = "OPENCLAW_";
/// TOML itself stops at 80.
const DEEPEST: usize = 16;

impl<'i> Document<'i> {
    /// Puts each `OPENCLAW_…__…` variable where its name says. `OPENCLAW_LOG` is short for `daemon.log`.
    pub(crate) fn override_from(&mut self, env: &'i BTreeMap<String, String>) {
        for (name, text) in env {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            if rest == "LOG" {
                let value = DeValue::String(text.as_str().into());
                self.set(name, vec!["daemon".into(), "log".into()], value);
            } else if rest.contains("__") {
                let keys = keys(rest);
                if keys.len() > DEEPEST || keys.iter().any(String::is_empty) {
                    let remedy = "write the parts of the key with `__` between: OPENCLAW_DAEMON__LOG";
                    self.mistakes.push(Mistake::of(Place::Variable(name.clone()), "names no key", remedy));
                } else {
                    self.set(name, keys, read(text));
                }
            }
        }
    }

    fn set(&mut self, name: &'i str, keys: Vec<String>, value: DeValue<'i>) {
        // Each key and value gets a place of its own behind the text, so that a mistake in it can be found.
        let start = self.variables.last().map_or(usize::MAX / 2, |(area, _)| area.end);
        let mut places = Places(start);
        let value = places.value(value);
        let mut keys = keys.into_iter().map(Cow::Owned).map(|key| places.spanned(key)).collect::<Vec<_>>();
        let conflict =
            keys.pop().and_then(|last| insert(&mut self.root, &keys, last, value, &mut places).err());
        self.variables.push((start..places.0, name));
        if let Some(what) = conflict {
            self.mistakes.push(Mistake::of(
                Place::Variable(name.into()),
                what,
                "mend the one or unset the other",
            ));
        }
    }
}

fn insert<'i>(
    root: &mut DeTable<'i>,
    parents: &[Spanned<DeString<'i>>],
    key: Spanned<DeString<'i>>,
    value: Spanned<DeValue<'i>>,
    places: &mut Places,
) -> Result<(), String> {
    let mut table = root;
    for parent in parents {
        let next =
            table.entry(parent.clone()).or_insert_with(|| places.spanned(DeValue::Table(DeTable::new())));
        table = match next.get_mut() {
            DeValue::Table(table) => table,
            other => return Err(format!("`{}` is no table but {}", parent.get_ref(), other.type_str())),
        };
    }
    table.remove(&key);
    table.insert(key, value);
    Ok(())
}

/// Lower-cased; in an agent's name, which has no `_`, that stands for `-`.
fn keys(name: &str) -> Vec<String> {
    let mut keys: Vec<_> = name.split("__").map(str::to_ascii_lowercase).collect();
    if let [table, agent, ..] = keys.as_mut_slice()
        && table == "agents"
    {
        *agent = agent.replace('_', "-");
    }
    keys
}

/// A TOML value, or else a text.
fn read(text: &str) -> DeValue<'_> {
    DeValue::parse(text).map_or_else(|_| DeValue::String(text.into()), Spanned::into_inner)
}

/// The next free position.
struct Places(usize);

impl Places {
    fn next(&mut self) -> Range<usize> {
        self.0 += 1;
        self.0 - 1..self.0
    }

    fn spanned<T>(&mut self, inner: T) -> Spanned<T> {
        Spanned::new(self.next(), inner)
    }

    fn value<'i>(&mut self, value: DeValue<'i>) -> Spanned<DeValue<'i>> {
        let value = match value {
            DeValue::Array(list) => {
                DeValue::Array(list.into_iter().map(|element| self.value(element.into_inner())).collect())
            }
            DeValue::Table(table) => {
                let mut moved = DeTable::new();
                for (key, value) in table {
                    moved.insert(self.spanned(key.into_inner()), self.value(value.into_inner()));
                }
                DeValue::Table(moved)
            }
            scalar => scalar,
        };
        self.spanned(value)
    }
}
