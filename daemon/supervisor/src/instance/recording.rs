//! What of one host's calls is recorded: those that it makes for a task, with their answers.

use std::collections::HashMap;

use openclaw_agent_api::agent::AgentError;
use openclaw_agent_api::context::CallError;
use serde::Deserialize;
use serde_json::value::RawValue;
use store::task::TaskId;

use crate::record::{Recorder, Try};

/// Of one host.
pub struct Recording {
    recorder: Recorder,
    /// The calls that are not answered yet; bounded as they are.
    asked: HashMap<u64, Asked>,
}

struct Asked {
    task: TaskId,
    method: String,
    payload: Box<RawValue>,
}

impl Recording {
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder, asked: HashMap::new() }
    }

    pub fn begin(&self, tried: Try, size: usize) {
        self.recorder.begin(tried, size);
    }

    pub fn asked(&mut self, call: u64, method: &str, payload: &RawValue) {
        #[derive(Deserialize)]
        struct Behalf {
            task_id: TaskId,
        }
        if let Ok(Behalf { task_id: task }) = serde_json::from_str(payload.get()) {
            self.asked.insert(call, Asked { task, method: method.into(), payload: payload.to_owned() });
        }
    }

    pub fn answered(&mut self, call: u64, answer: &Result<Box<RawValue>, CallError>) {
        if let Some(Asked { task, method, payload }) = self.asked.remove(&call) {
            self.recorder.call(task, method, payload, answer.clone());
        }
    }

    pub fn end(&self, task: TaskId, outcome: &Result<Box<RawValue>, AgentError>) {
        self.recorder.end(task, outcome.clone());
    }

    /// The host ended with these in work.
    pub fn gone(&self, tasks: impl IntoIterator<Item = TaskId>) {
        tasks.into_iter().for_each(|task| self.recorder.gone(task));
    }
}
