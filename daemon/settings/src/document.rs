//! A TOML document that knows where each key was written, and gives every mistake in it at once.

use std::mem::replace;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use crate::explain::explain;
use crate::mistakes::{Mistake, Place};
use crate::providers::json;

/// The mistakes that one start lists. More of them are one mistake made often.
const MOST: usize = 200;

/// The file, with the environment's overrides in it.
pub(crate) struct Document<'i> {
    text: &'i str,
    pub(crate) root: DeTable<'i>,
    /// Where overrides live: spans past the end of the text.
    pub(crate) variables: Vec<(Range<usize>, &'i str)>,
    /// The lines that errors of syntax make unsure.
    pub(crate) broken: Vec<usize>,
    /// Keys that were taken out because they are wrong.
    removed: Vec<Vec<String>>,
    pub(crate) mistakes: Vec<Mistake>,
}

impl<'i> Document<'i> {
    /// Reads as much as can be read; syntax errors are the first mistakes.
    pub(crate) fn parse(text: &'i str) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        let mut document = Self {
            text,
            root: root.into_inner(),
            variables: Vec::new(),
            broken: Vec::new(),
            removed: Vec::new(),
            mistakes: Vec::new(),
        };
        for error in errors.iter().take(MOST) {
            let written = error.span().and_then(|span| text.get(span)).unwrap_or_default();
            let (what, remedy) = match error.message().split_once(", expected ") {
                Some((what, expected)) => (what.into(), format!("expected {expected}")),
                None if error.message() == "duplicate key" => {
                    (format!("duplicate key `{written}`"), "keep one of them".into())
                }
                None => (error.message().into(), "write it as TOML: key = \"text\"".into()),
            };
            document.note(error.span(), &[], format!("syntax: {what}"), remedy);
        }
        document.broken = document
            .mistakes
            .iter()
            .filter_map(|mistake| mistake.line)
            .flat_map(|line| unsure(text, line))
            .collect();
        document
    }

    /// The same of a file that is JSON.
    pub(crate) fn parse_json(text: &'i str) -> Self {
        let (root, faults) = json::table(text);
        let mut document = Self { text, root, ..Self::parse("") };
        for (span, what, remedy) in faults {
            document.note(Some(span), &[], what, remedy);
        }
        document
    }

    /// The settings without the keys that are wrong, each of which becomes a mistake. None if they are too many.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Option<T> {
        self.root.iter_mut().for_each(|(_, value)| without_dates(value.get_mut()));
        for _ in 0..MOST {
            let root = Spanned::new(0..0, self.root.clone());
            let error = match T::deserialize(Deserializer::from(root)) {
                Ok(settings) => return Some(settings),
                Err(error) => error,
            };
            let keys = error.span().and_then(|span| remove(&mut self.root, &span));
            let (what, remedy) = explain(keys.as_deref().unwrap_or_default(), error.message());
            self.note(error.span(), keys.as_deref().unwrap_or_default(), what, remedy);
            self.removed.push(keys?);
        }
        let what = format!("more than {MOST} keys are wrong");
        self.mistakes.push(Mistake::of(Place::Config, what, "begin again from the file that is shipped"));
        None
    }

    /// Adds a mistake at `span`, unless it follows from an error of syntax.
    pub(crate) fn note(&mut self, span: Option<Range<usize>>, keys: &[String], what: String, remedy: String) {
        let (place, position) = self.place(span);
        let (line, column) = position.unzip();
        if place == Place::Config && line.is_some_and(|line| self.broken.contains(&line)) {
            return;
        }
        self.mistakes.push(Mistake { place, line, column, key: keys.join("."), what, remedy });
    }

    /// Whether the key, or what it stands in, was taken out.
    pub(crate) fn lost(&self, keys: &[&str]) -> bool {
        self.removed.iter().any(|lost| lost.len() <= keys.len() && lost.iter().zip(keys).all(|(a, b)| a == b))
    }

    /// Where a key was written.
    pub(crate) fn span(&self, keys: &[&str]) -> Option<Range<usize>> {
        let (last, parents) = keys.split_last()?;
        let table =
            parents.iter().try_fold(&self.root, |table, key| table.get(*key)?.get_ref().as_table())?;
        table.get_key_value(*last).map(|(key, _)| key.span())
    }

    /// Where an element of a list was written, the last of its kind.
    pub(crate) fn element(&self, keys: &[&str], text: &str) -> Option<Range<usize>> {
        let (first, rest) = keys.split_first()?;
        let list = rest.iter().try_fold(self.root.get(*first)?, |value, key| value.get_ref().get(*key))?;
        let elements = list.get_ref().as_array()?;
        elements.iter().rfind(|element| element.get_ref().as_str() == Some(text)).map(Spanned::span)
    }

    fn place(&self, span: Option<Range<usize>>) -> (Place, Option<(usize, usize)>) {
        let Some(span) = span else { return (Place::Config, None) };
        if let Some((_, name)) = self.variables.iter().find(|(area, _)| area.contains(&span.start)) {
            return (Place::Variable((*name).into()), None);
        }
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        (Place::Config, Some((before.matches('\n').count() + 1, line.chars().count() + 1)))
    }
}

/// A broken line; with a broken header, all that stands below it: nobody knows which table it belongs to.
fn unsure(text: &str, line: usize) -> Range<usize> {
    let header = |line: &&str| line.trim_start().starts_with('[');
    let mut from = text.lines().skip(line - 1);
    let below = if from.next().as_ref().is_some_and(header) {
        from.take_while(|line| !header(line)).count()
    } else {
        0
    };
    line..line + 1 + below
}

/// Takes out the key or element whose name or value stands at `span`; says which keys lead to it.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let found = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span);
    if let Some(key) = found.map(|(key, _)| key.get_ref().to_string()) {
        table.remove(key.as_str());
        return Some(vec![key]);
    }
    table.iter_mut().find_map(|(key, value)| {
        let mut keys = remove_within(value.get_mut(), span)?;
        keys.insert(0, key.get_ref().to_string());
        Some(keys)
    })
}

fn remove_within(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    match value {
        DeValue::Table(table) => remove(table, span),
        DeValue::Array(list) if list.iter().any(|element| element.span() == *span) => {
            *list =
                replace(list, DeArray::new()).into_iter().filter(|element| element.span() != *span).collect();
            Some(Vec::new())
        }
        DeValue::Array(list) => list.iter_mut().find_map(|element| remove_within(element.get_mut(), span)),
        _ => None,
    }
}

/// JSON, which an agent's settings become, has no dates: they are texts.
fn without_dates(value: &mut DeValue<'_>) {
    match value {
        DeValue::Datetime(date) => *value = DeValue::String(date.to_string().into()),
        DeValue::Table(table) => table.iter_mut().for_each(|(_, value)| without_dates(value.get_mut())),
        DeValue::Array(list) => list.iter_mut().for_each(|value| without_dates(value.get_mut())),
        _ => {}
    }
}
