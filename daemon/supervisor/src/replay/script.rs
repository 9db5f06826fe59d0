//! The daemon's side of a replay: answers as they were recorded, and what differs. Pure.

use openclaw_agent_api::agent::AgentError;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::{Call, Record};

/// Where a replay differs from its record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Difference {
    /// A call was made with something else; it was answered as the recorded one.
    Payload {
        /// What for.
        method: String,
        /// Where in it.
        at: String,
        /// As it was.
        recorded: Value,
        /// As it is.
        replayed: Value,
    },
    /// A call was made before one that came before it.
    Order {
        /// What for.
        method: String,
        /// With what.
        payload: Value,
    },
    /// A call has no recorded answer: it failed.
    NotRecorded {
        /// What for.
        method: String,
        /// With what.
        payload: Value,
    },
    /// A recorded call was not made.
    NotAsked {
        /// What for.
        method: String,
        /// With what.
        payload: Value,
    },
    /// It ended otherwise.
    Outcome {
        /// Where in it.
        at: String,
        /// As it was.
        recorded: Value,
        /// As it is.
        replayed: Value,
    },
}

/// What is left of a record.
pub struct Script {
    left: Vec<Call>,
    end: Option<Result<Value, AgentError>>,
    answered: usize,
    differences: Vec<Difference>,
}

impl Script {
    pub fn new(mut record: Record) -> Self {
        // They are recorded as they are answered.
        record.calls.sort_by_key(|call| call.asked);
        Self { left: record.calls, end: record.end, answered: 0, differences: Vec::new() }
    }

    /// The recorded answer: of the same call, else of the next for the same.
    pub fn answer(&mut self, method: &str, payload: Value) -> Result<Value, CallError> {
        let same = self.left.iter().position(|call| call.method == method && call.payload == payload);
        let place = same.or_else(|| self.left.iter().position(|call| call.method == method));
        let Some(place) = place else {
            let text = format!("nothing is recorded that would answer this call of `{method}`");
            self.differences.push(Difference::NotRecorded { method: method.into(), payload });
            return Err(CallError::new(CallErrorKind::Failed, text));
        };
        let call = self.left.remove(place);
        if let Some((at, recorded, replayed)) = apart(&call.payload, &payload) {
            let method = method.into();
            self.differences.push(Difference::Payload { method, at, recorded, replayed });
        } else if place > 0 {
            self.differences.push(Difference::Order { method: method.into(), payload });
        }
        self.answered += 1;
        call.answer
    }

    /// It ended: how many calls were answered, and all that differs.
    pub fn end(mut self, outcome: Result<Value, AgentError>) -> (usize, Vec<Difference>) {
        let not_asked = |call: Call| Difference::NotAsked { method: call.method, payload: call.payload };
        self.differences.extend(self.left.into_iter().map(not_asked));
        if let Some(end) = self.end
            && let Some((at, recorded, replayed)) = apart(&told(end), &told(outcome))
        {
            self.differences.push(Difference::Outcome { at, recorded, replayed });
        }
        (self.answered, self.differences)
    }
}

/// An outcome as JSON: an error under its name.
fn told(outcome: Result<Value, AgentError>) -> Value {
    outcome.unwrap_or_else(|error| serde_json::json!({ "error": error }))
}

/// The first place in which two values differ, as a path, with what each has there.
fn apart(one: &Value, other: &Value) -> Option<(String, Value, Value)> {
    let below = |key: String, found: Option<(String, Value, Value)>| {
        found.map(|(path, a, b)| (if path.is_empty() { key } else { format!("{key}.{path}") }, a, b))
    };
    match (one, other) {
        _ if one == other => None,
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let of = |fields: &serde_json::Map<_, _>| fields.get(key).cloned().unwrap_or_default();
                below(key.clone(), apart(&of(a), &of(b)))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| below(index.to_string(), apart(a, b)))
        }
        _ => Some((String::new(), one.clone(), other.clone())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn call(method: &str, payload: Value, answer: Value) -> Call {
        Call { method: method.into(), payload, answer: Ok(answer), asked: 0 }
    }

    fn script(calls: Vec<Call>, end: Value) -> Script {
        Script { left: calls, end: Some(Ok(end)), answered: 0, differences: Vec::new() }
    }

    #[test]
    fn each_difference_is_named_and_the_rest_is_answered() {
        let calls = vec![
            call("ask", json!({"prompt": "a"}), json!("A")),
            call("search", json!({"query": "q"}), json!(["hit"])),
            call("ask", json!({"prompt": "b"}), json!("B")),
            call("fetch", json!({"url": "u"}), json!({})),
        ];
        let mut script = script(calls, json!({"text": "t", "data": [1, {"a": 2}]}));
        assert_eq!(script.answer("ask", json!({"prompt": "b"})), Ok(json!("B")));
        assert_eq!(script.answer("ask", json!({"prompt": "c", "model": "m"})), Ok(json!("A")));
        assert_eq!(script.answer("ask", json!({"prompt": "d"})).unwrap_err().kind, CallErrorKind::Failed);
        assert_eq!(script.answer("search", json!({"query": "q"})), Ok(json!(["hit"])));
        let (answered, differences) = script.end(Ok(json!({"text": "t", "data": [1, {"a": 3}]})));
        assert_eq!(answered, 3);
        let kinds: Vec<_> = differences
            .iter()
            .map(|one| serde_json::to_value(one).unwrap()["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["order", "payload", "not_recorded", "not_asked", "outcome"]);
        let outcome = Difference::Outcome { at: "data.1.a".into(), recorded: json!(2), replayed: json!(3) };
        assert_eq!(differences.last(), Some(&outcome));
        let error = AgentError::failed("no");
        let (_, differences) = super::tests::script(Vec::new(), json!({"text": "t"})).end(Err(error));
        assert!(matches!(differences[..], [Difference::Outcome { .. }]), "{differences:?}");
    }

    proptest! {
        #[test]
        fn the_same_calls_again_differ_in_nothing(methods in proptest::collection::vec("[a-c]", 0..20)) {
            let calls: Vec<_> =
                methods.iter().enumerate().map(|(n, m)| call(m, json!({"n": n % 4}), json!(n))).collect();
            let mut script = script(calls.clone(), json!(1));
            for call in calls {
                prop_assert_eq!(script.answer(&call.method, call.payload), call.answer);
            }
            prop_assert_eq!(script.end(Ok(json!(1))), (methods.len(), Vec::new()));
        }
    }
}
