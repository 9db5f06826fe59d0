//! No line holds a secret, whoever's it is: libraries log addresses and errors that they know nothing of.

use std::fmt;

use settings::Redactor;
use tracing::field::{Field, Value, ValueSet, Visit, display};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_core::field::FieldSet;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// tracing's own bound.
const FIELDS: usize = 32;

/// A layer that is handed lines without secrets, before it gives them a form.
pub struct Redacting<L> {
    pub layer: L,
    pub redactor: Redactor,
}

/// The values of a line. Numbers are no secrets.
struct Values<'r> {
    redactor: &'r Redactor,
    values: Vec<(Field, Box<dyn Value>)>,
    changed: bool,
}

impl<'r> Values<'r> {
    fn new(redactor: &'r Redactor) -> Self {
        Self { redactor, values: Vec::new(), changed: false }
    }

    fn add(&mut self, field: &Field, value: impl Value + 'static) {
        self.values.push((field.clone(), Box::new(value)));
    }

    fn redact(&mut self, text: &str) -> String {
        let told = self.redactor.redact(text);
        self.changed |= told != text;
        told.into_owned()
    }

    /// Hands over the values, unless they may stay as they are.
    fn with(&self, fields: &FieldSet, tell: impl FnOnce(&ValueSet<'_>)) -> bool {
        if let (true, Some((first, _))) = (self.changed, self.values.first()) {
            let values: [(&Field, Option<&dyn Value>); FIELDS] = std::array::from_fn(|at| {
                self.values.get(at).map_or((first, None), |(field, value)| (field, Some(&**value)))
            });
            tell(&fields.value_set(&values));
        }
        self.changed
    }
}

impl Visit for Values<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = self.redact(&format!("{value:?}"));
        self.add(field, display(text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let text = self.redact(value);
        self.add(field, text);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.add(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

impl<S, L> Layer<S> for Redacting<L>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let mut values = Values::new(&self.redactor);
        attributes.record(&mut values);
        let meta = attributes.metadata();
        let told = values.with(meta.fields(), |values| {
            let without = match attributes.parent() {
                Some(parent) => Attributes::child_of(parent.clone(), meta, values),
                None if attributes.is_root() => Attributes::new_root(meta, values),
                None => Attributes::new(meta, values),
            };
            self.layer.on_new_span(&without, id, ctx.clone());
        });
        if !told {
            self.layer.on_new_span(attributes, id, ctx);
        }
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, ctx: Context<'_, S>) {
        let mut values = Values::new(&self.redactor);
        record.record(&mut values);
        let fields = ctx.metadata(id).map(tracing::Metadata::fields);
        let told = fields.is_some_and(|fields| {
            values.with(fields, |values| self.layer.on_record(id, &Record::new(values), ctx.clone()))
        });
        if !told {
            self.layer.on_record(id, record, ctx);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut values = Values::new(&self.redactor);
        event.record(&mut values);
        let meta = event.metadata();
        let told = values.with(meta.fields(), |values| {
            let without = match event.parent() {
                None if event.is_contextual() => Event::new(meta, values),
                parent => Event::new_child_of(parent.cloned(), meta, values),
            };
            self.layer.on_event(&without, ctx.clone());
        });
        if !told {
            self.layer.on_event(event, ctx);
        }
    }

    fn on_enter(&self, id: &Id, ctx: Context<'_, S>) {
        self.layer.on_enter(id, ctx);
    }

    fn on_exit(&self, id: &Id, ctx: Context<'_, S>) {
        self.layer.on_exit(id, ctx);
    }

    fn on_close(&self, id: Id, ctx: Context<'_, S>) {
        self.layer.on_close(id, ctx);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use secrecy::SecretString;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn events_and_spans_are_told_without_secrets_in_each_form() {
        let secret = "hid\"den/hidden";
        for json in [true, false] {
            let (lines, redactor) = (Lines::default(), Redactor::of([&SecretString::from(secret)]));
            let writer = lines.clone();
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
            let layer = if json { layer.json().flatten_event(true).boxed() } else { layer.boxed() };
            let subscriber = tracing_subscriber::registry().with(Redacting { layer, redactor });
            tracing::subscriber::with_default(subscriber, || {
                let span = tracing::info_span!("call", url = %format!("/bot{secret}/x"), late = tracing::field::Empty);
                let _entered = span.enter();
                span.record("late", secret);
                let error = io::Error::other(format!("no {secret}"));
                tracing::info!(number = 7, yes = true, key = secret, shown = ?secret, %error, "it is {secret}");
                tracing::info!(parent: None, key = secret, "rootless");
                tracing::info!("it is well");
            });
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            assert!(!text.contains("hidden"), "{text}");
            for told in ["it is ***", "no ***", "/bot***/x", "it is well", "7", "true", "rootless"] {
                assert!(text.contains(told), "`{told}`: {text}");
            }
            assert_eq!((text.lines().count(), text.contains("\"number\":7")), (3, json), "{text}");
        }
    }
}
