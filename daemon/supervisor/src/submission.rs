//! What may become a task, whoever sends it: one place for the limits.

use openclaw_agent_api::AgentName;
use openclaw_agent_api::abi::kinds;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use settings::Tasks;
use store::task::{NewTask, TaskId};

/// The longest session or key, in bytes: a longer one is somebody's mistake.
const KEY: usize = 256;

/// The deepest data: whoever reads it, agents and databases too, must be able to, and serde_json stops at 128.
const DEPTH: usize = 100;

/// What a message's row holds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Payload {
    /// What was said.
    #[serde(default)]
    pub text: String,
    /// Structured input beside the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

/// A message on its way to become a task.
pub struct Draft {
    /// To whom.
    pub to: AgentName,
    /// What.
    pub payload: Payload,
    /// Messages of one session are handled in order.
    pub session: Option<String>,
    /// A second message with the same key is the first one.
    pub key: Option<String>,
    /// Higher first.
    pub priority: i32,
    /// Who sends it.
    pub source: String,
}

/// Whether a character is not seen and changes how others are: control characters, and Unicode's direction marks:
/// <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How deep a JSON text is nested.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl Draft {
    /// The task.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence; nothing has been stored.
    pub fn task(self, tasks: &Tasks) -> Result<NewTask, String> {
        for (what, text) in [("session", &self.session), ("key", &self.key)] {
            if text.as_ref().is_some_and(|text| text.len() > KEY || text.is_empty()) {
                return Err(format!("a {what} has 1 to {KEY} bytes: nothing was stored"));
            }
            if text.as_ref().is_some_and(|text| text.chars().any(misleads)) {
                return Err(format!("a {what} has no control characters: nothing was stored"));
            }
        }
        if self.payload.text.is_empty() && self.payload.data.is_none() {
            return Err("there is nothing to say, neither text nor data: nothing was stored".into());
        }
        if self.payload.data.as_ref().is_some_and(|data| depth(data.get()) > DEPTH) {
            return Err(format!("the data is nested deeper than {DEPTH} levels: nothing was stored"));
        }
        let payload = serde_json::to_string(&self.payload).map_err(|error| error.to_string())?;
        let (size, limit) = (payload.len(), tasks.max_payload);
        if size as u64 > limit.bytes() {
            return Err(format!(
                "the message of {size} bytes is over tasks.max_payload, {limit}: nothing was stored; send less, or raise it"
            ));
        }
        Ok(NewTask {
            id: TaskId::new(),
            queue: self.to,
            kind: kinds::MESSAGE.into(),
            payload,
            session: self.session,
            dedupe_key: self.key,
            priority: self.priority,
            max_attempts: tasks.max_attempts,
            run_at: None,
            source: self.source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_within_texts_are_no_depth() {
        for (json, deep) in [
            ("1", 0),
            ("[]", 1),
            (r#"{"a": [1, {"b": []}], "c": {}}"#, 4),
            (r#"["[[[", "\"[[", "\\", [2]]"#, 2),
        ] {
            assert_eq!(depth(json), deep, "{json}");
        }
        assert_eq!(depth(&"[".repeat(100_000)), 100_000);
    }

    #[test]
    fn what_is_not_seen_misleads() {
        assert!(
            ['\0', '\n', '\u{7f}', '\u{9b}', '\u{202e}', '\u{2069}', '\u{200f}', '\u{61c}']
                .into_iter()
                .all(misleads)
        );
        assert!(!['a', ' ', '\u{fc}', '\u{5d0}', '\u{1f98e}', '\u{200d}'].into_iter().any(misleads));
    }
}
