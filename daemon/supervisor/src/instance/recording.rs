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
    /// How many were asked.
    count: u64,
}

struct Asked {
    task: TaskId,
    place: u64,
    method: String,
    payload: Box<RawValue>,
}

impl Recording {
    pub fn new(recorder: Recorder) -> Self {
        Self { recorder, asked: HashMap::new(), count: 0 }
    }

    pub fn begin(&self, tried: Try, size: usize) {
        self.recorder.begin(tried, size);
    }

    /// A call, on behalf of a task that the host has `in_work`: another one's record is none of its business.
    pub fn asked(
        &mut self,
        call: u64,
        method: &str,
        payload: &RawValue,
        in_work: impl FnOnce(&TaskId) -> bool,
    ) {
        #[derive(Deserialize)]
        struct Behalf {
            task_id: TaskId,
        }
        if let Ok(Behalf { task_id: task }) = serde_json::from_str(payload.get())
            && in_work(&task)
        {
            self.count += 1;
            let (place, method, payload) = (self.count, method.into(), payload.to_owned());
            self.asked.insert(call, Asked { task, place, method, payload });
        }
    }

    pub fn answered(&mut self, call: u64, answer: &Result<Box<RawValue>, CallError>) {
        if let Some(Asked { task, place, method, payload }) = self.asked.remove(&call) {
            self.recorder.call(task, (place, method), payload, answer.clone());
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
