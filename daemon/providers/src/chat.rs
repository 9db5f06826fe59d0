//! Chat completions, as OpenAI has them and others took over: <https://platform.openai.com/docs/api-reference/chat>. Pure.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use settings::{ChatModel, ContextLimit};

use crate::exchange::Reading;
use crate::policy::Trouble;

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Say {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub text: String,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Turns, oldest first.
    pub turns: Vec<Say>,
    /// A model by name; none: each provider's first.
    pub model: Option<String>,
    /// The most that it may write, in tokens.
    pub max_tokens: Option<u32>,
    /// How long whoever asks waits, with all tries; none: as long as `failover.json` lets it.
    pub within: Option<Duration>,
}

/// So many tokens were read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub read: i64,
    pub written: i64,
}

impl Tokens {
    /// What they cost, in millionths of a USD: a price per million tokens is that of one in millionths.
    pub fn cost(self, model: &ChatModel) -> i64 {
        (self.read as f64 * model.input + self.written as f64 * model.output).ceil() as i64
    }
}

/// What a model reads is about so many tokens: three bytes each, which is more than English has and fewer than base64 or JSON, and
/// some for each turn. An estimate; no tokenizer, since each model has its own.
fn tokens(turn: &Say) -> u32 {
    u32::try_from(turn.text.len().div_ceil(3)).unwrap_or(u32::MAX).saturating_add(8)
}

/// What is sent to one model, and the most tokens that it is expected to use.
pub(crate) struct Call {
    kept: Vec<usize>,
    answer: u32,
    pub most: Tokens,
}

impl Call {
    /// Its body.
    pub fn body(&self, question: &Question, model: &str) -> Value {
        let turns = self.kept.iter().filter_map(|n| question.turns.get(*n));
        let turns: Vec<_> = turns.map(|turn| json!({"role": turn.role, "content": turn.text})).collect();
        json!({"model": model, "messages": turns, "max_tokens": self.answer, "stream": false})
    }
}

/// The call for a model of such a context: what does not fit into its context is left out, the oldest turns first; the instructions and the
/// last turn stay.
///
/// # Errors
/// Those alone are too long: so many tokens, of so many that fit.
pub(crate) fn call(question: &Question, limit: ContextLimit) -> Result<Call, (u32, u32)> {
    let answer = question.max_tokens.unwrap_or(limit.answer).clamp(1, limit.answer);
    let room = limit.context.saturating_sub(answer);
    let last = question.turns.len().saturating_sub(1);
    let stays = |n: usize, turn: &Say| n == last || turn.role == "system";
    let fixed = question.turns.iter().enumerate().filter(|(n, turn)| stays(*n, turn));
    let fixed = fixed.fold(0u32, |sum, (_, turn)| sum.saturating_add(tokens(turn)));
    if fixed > room {
        return Err((fixed, room));
    }
    // From the newest backwards, and none older than one that does not fit: a gap would be a lie.
    let (mut sum, mut full) = (fixed, false);
    let mut kept = Vec::new();
    for (n, turn) in question.turns.iter().enumerate().rev() {
        if !stays(n, turn) {
            full |= sum.saturating_add(tokens(turn)) > room;
            if full {
                continue;
            }
            sum += tokens(turn);
        }
        kept.push(n);
    }
    kept.reverse();
    Ok(Call { kept, answer, most: Tokens { read: sum.into(), written: answer.into() } })
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Said,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Default, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: i64,
    #[serde(default)]
    completion_tokens: i64,
    #[serde(default)]
    total_tokens: i64,
}

impl Usage {
    /// None where it says nothing. What a model thought some count in the total alone, and bill as written: docs.x.ai.
    fn tokens(&self) -> Option<Tokens> {
        let sane = |count: i64| count.clamp(0, 100_000_000);
        let (read, total) = (sane(self.prompt_tokens), sane(self.total_tokens));
        let written = sane(self.completion_tokens).max(total - read);
        (read > 0 || written > 0).then_some(Tokens { read, written })
    }
}

/// What was answered, and what that took, as far as the provider says.
pub(crate) fn answer(body: &[u8]) -> Reading<String> {
    let completion: Completion = match read(body) {
        Ok(completion) => completion,
        Err(trouble) => return Reading { answer: Err(trouble), usage: None },
    };
    let usage = completion.usage.and_then(|usage| usage.tokens());
    let choice = completion.choices.into_iter().next();
    let full = choice.as_ref().is_some_and(|choice| choice.finish_reason.as_deref() == Some("length"));
    let said = choice.and_then(|choice| choice.message.content).unwrap_or_default();
    let answer = match without_thoughts(&said).map(str::trim) {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        Some(_) if !full => Err(Trouble::Empty),
        _ => Err(Trouble::CutOff),
    };
    Reading { answer, usage }
}

/// Some models put what they thought before their answer; none: they have not come to it.
fn without_thoughts(text: &str) -> Option<&str> {
    match text.trim_start().strip_prefix("<think>") {
        Some(thoughts) => thoughts.split_once("</think>").map(|(_, answer)| answer),
        None => Some(text),
    }
}

/// JSON of the expected form. What it was instead is not told: it may be anything.
pub(crate) fn read<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, Trouble> {
    let text = body.trim_ascii();
    if text.is_empty() {
        return Err(Trouble::Empty);
    }
    serde_json::from_slice(text).map_err(|error| {
        let why = match error.classify() {
            _ if text.starts_with(b"<") => "a page of HTML, as from a portal or a proxy in between".into(),
            serde_json::error::Category::Data => {
                format!("it has another form, in line {} column {}", error.line(), error.column())
            }
            _ => format!("it is no JSON, in line {} column {}", error.line(), error.column()),
        };
        Trouble::Unusable(why)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn say(role: &str, text: &str) -> Say {
        Say { role: role.into(), text: text.into() }
    }

    #[test]
    fn the_oldest_turns_give_way() {
        let old = "x".repeat(300);
        let turns =
            vec![say("system", "be brief"), say("user", &old), say("assistant", &old), say("user", "now?")];
        let question = Question { turns, ..Question::default() };
        let roles = |context| {
            let limit = ContextLimit { context, answer: 50 };
            let body = call(&question, limit).map(|call| call.body(&question, "m"));
            body.map(|body| {
                body["messages"].as_array().unwrap().iter().map(|m| m["role"].clone()).collect::<Vec<_>>()
            })
        };
        assert_eq!(roles(400).unwrap(), ["system", "user", "assistant", "user"]);
        assert_eq!(roles(200).unwrap(), ["system", "assistant", "user"]);
        assert_eq!(roles(100).unwrap(), ["system", "user"]);
        assert_eq!(roles(60), Err((21, 10)));
    }

    #[test]
    fn answers_are_read_and_what_is_none_is_told() {
        let good = br#"{"choices":[{"message":{"content":"<think>hm</think>\n Hello "}}],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#;
        let told = |body: &[u8]| {
            let Reading { answer, usage } = answer(body);
            (answer, usage.map(|tokens| (tokens.read, tokens.written)))
        };
        assert_eq!(told(good), (Ok("Hello".into()), Some((7, 2))));
        assert_eq!(told(br#"{"choices":[{"message":{"content":"x"}}]}"#), (Ok("x".into()), None));
        for empty in [
            "",
            " \n",
            r#"{"choices":[]}"#,
            r#"{"choices":[{"message":{}}]}"#,
            r#"{"choices":[{"message":{"content":"<think>hm</think>"},"finish_reason":"stop"}]}"#,
        ] {
            assert_eq!(told(empty.as_bytes()).0, Err(Trouble::Empty), "{empty}");
        }
        for cut_off in [
            r#"{"choices":[{"message":{"content":"<think>hm"}}]}"#,
            r#"{"choices":[{"message":{"content":""},"finish_reason":"length"}]}"#,
        ] {
            assert_eq!(told(cut_off.as_bytes()).0, Err(Trouble::CutOff), "{cut_off}");
        }
        let counted = |usage: &str| {
            let body = format!(r#"{{"choices":[{{"message":{{"content":""}}}}],"usage":{usage}}}"#);
            told(body.as_bytes()).1
        };
        // What was thought is in the total alone, and is paid for, also where nothing came of it.
        let thought = r#"{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":5010}"#;
        assert_eq!(counted(thought), Some((1000, 4010)));
        assert_eq!(counted(r#"{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}"#), Some((7, 2)));
        assert_eq!(counted(r#"{"prompt_tokens":0,"completion_tokens":0}"#), None);
        assert_eq!(counted(r#"{"prompt_tokens":-5,"completion_tokens":9000000000}"#), Some((0, 100_000_000)));
        for (odd, why) in [
            ("<html>hidden</html>", "HTML"),
            ("{\"choices\":[{\"mess", "no JSON"),
            ("[1,2]", "another form"),
            ("{\"error\":\"hidden\"}", "another form"),
            ("{\"choices\":\"hidden\"}", "another form"),
        ] {
            let told = told(odd.as_bytes()).0.unwrap_err().to_string();
            assert!(told.contains(why) && !told.contains("hidden"), "{odd}: {told}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_fits(turns in prop::collection::vec(("system|user|assistant", ".{0,200}"), 1..12), context in 60u32..2000, asked in proptest::option::of(0u32..5000)) {
            let turns: Vec<_> = turns.iter().map(|(role, text)| say(role, text)).collect();
            let limit = ContextLimit { context, answer: 50 };
            let question = Question { turns: turns.clone(), max_tokens: asked, ..Question::default() };
            match call(&question, limit) {
                Ok(call) => {
                    prop_assert!(call.most.read + call.most.written <= i64::from(context));
                    let body = call.body(&question, "m");
                    let sent = body["messages"].as_array().unwrap();
                    prop_assert_eq!(sent.last().unwrap()["content"].as_str(), Some(turns.last().unwrap().text.as_str()));
                    let systems = turns.iter().filter(|turn| turn.role == "system").count();
                    let last = usize::from(turns.last().unwrap().role == "system");
                    let kept = sent.iter().filter(|turn| turn["role"] == "system").count();
                    prop_assert!(kept >= systems.max(last));
                }
                Err((needed, room)) => prop_assert!(needed > room),
            }
        }

        #[test]
        fn no_answer_brings_it_down(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = answer(&body);
        }
    }
}
