//! What `export_agent!` expands to: every entry of the ABI, each inside `catch_unwind` in the library itself.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RSlice, RStr, RVec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::abi::{
    AgentModuleV1, AgentModuleV1_Ref, AgentObjectV1, AgentObjectV1_TO, Answer, BoxedAgent, BoxedHost, kinds,
};
use crate::agent::{Agent, AgentError, ErrorClass, Message, Reply};
use crate::context::{CallError, CallErrorKind, Context, FollowUp, Host};
use crate::manifest::{Manifest, PanicStrategy};

pub use abi_stable;

/// What only the author's crate knows at compile time.
#[derive(Clone, Copy)]
pub struct Identity {
    pub name: &'static str,
    pub version: &'static str,
    pub panic: PanicStrategy,
}

/// A reply as it crosses the ABI: with the follow-ups that are committed beside it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Answered {
    #[serde(flatten)]
    pub reply: Reply,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<FollowUp>,
}

/// Makes an [`Agent`](crate::agent::Agent) of a `cdylib` loadable: `export_agent!(MyAgent);`, once per crate.
#[macro_export]
macro_rules! export_agent {
    ($agent:ty) => {
        const _: () = {
            use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
            use $crate::export::abi_stable;

            extern "C" fn describe() -> abi_stable::std_types::RVec<u8> {
                $crate::export::describe::<$agent>($crate::identity!())
            }
            fn module() -> $crate::abi::AgentModuleV1_Ref {
                $crate::export::module::<$agent>(describe)
            }
            extern "C" fn load() -> RootModuleResult {
                abi_stable::library::__call_root_module_loader(module)
            }
            // The name is abi_stable's own for a library's root module; a test of agent-api compares the two.
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            pub static OPENCLAW_AGENT: LibHeader =
                // SAFETY: `load` leaks an `AgentModuleV1` into the prefix that is named here.
                unsafe {
                    LibHeader::from_constructor::<$crate::abi::AgentModuleV1_Ref>(load, CheckTypeLayout::Yes)
                };
        };
    };
}

/// The author's crate, as the compiler sees it there.
#[doc(hidden)]
#[macro_export]
macro_rules! identity {
    () => {
        $crate::export::Identity {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            panic: if cfg!(panic = "abort") {
                $crate::manifest::PanicStrategy::Abort
            } else {
                $crate::manifest::PanicStrategy::Unwind
            },
        }
    };
}

/// The module that the library exports.
pub fn module<A: Agent>(describe: extern "C" fn() -> RVec<u8>) -> AgentModuleV1_Ref {
    AgentModuleV1 { describe, create: create::<A> }.leak_into_prefix()
}

/// The manifest, completed with what the author's crate knows.
pub fn manifest<A: Agent>(identity: Identity) -> Manifest {
    let mut manifest = A::describe();
    if manifest.name.is_empty() {
        manifest.name = identity.name.into();
    }
    manifest.version = identity.version.into();
    manifest.panic = identity.panic;
    manifest
}

pub fn describe<A: Agent>(identity: Identity) -> RVec<u8> {
    // An empty answer is no JSON: the host refuses it with a sentence.
    caught(|| to_json(&manifest::<A>(identity))).unwrap_or_default().into()
}

extern "C" fn create<A: Agent>(host: BoxedHost, settings: RSlice<'_, u8>) -> RResult<BoxedAgent, RVec<u8>> {
    note_panics();
    let made = caught(|| {
        let settings: Value = serde_json::from_slice(settings.as_slice())?;
        let agent = A::create(settings)?;
        Ok(AgentObjectV1_TO::from_value(
            Exported { agent, host: AbiHost(host) },
            abi_stable::erased_types::TD_Opaque,
        ))
    });
    match made.and_then(|made| made) {
        Ok(agent) => RResult::ROk(agent),
        Err(error) => RResult::RErr(to_json(&error).into()),
    }
}

struct Exported<A> {
    agent: A,
    host: AbiHost,
}

impl<A: Agent> AgentObjectV1 for Exported<A> {
    fn handle(&self, kind: RStr<'_>, payload: RSlice<'_, u8>) -> Answer {
        let answer = caught(|| dispatch(&self.agent, &self.host, kind.as_str(), payload.as_slice()));
        match answer.and_then(|answer| answer) {
            Ok(json) => RResult::ROk(json.into()),
            Err(error) => RResult::RErr(to_json(&error).into()),
        }
    }
}

/// One call of the agent, by kind.
pub fn dispatch<A: Agent>(
    agent: &A,
    host: &dyn Host,
    kind: &str,
    payload: &[u8],
) -> Result<Vec<u8>, AgentError> {
    match kind {
        kinds::MESSAGE | kinds::TICK => {
            let message: Message = serde_json::from_slice(payload)?;
            let ctx = Context::new(host, Some(message.task_id.clone()));
            let reply = if kind == kinds::TICK {
                agent.tick(&ctx, &message.text).map(|()| Reply::default())?
            } else {
                agent.handle(&ctx, &message)?
            };
            Ok(to_json(&Answered { reply, follow_ups: ctx.take_follow_ups() }))
        }
        kinds::START => agent.start(&Context::new(host, None)).map(|()| b"null".to_vec()),
        kinds::STOP => {
            agent.stop(&Context::new(host, None));
            Ok(b"null".to_vec())
        }
        kinds::SNAPSHOT => agent.snapshot().map(|state| to_json(&state)),
        kinds::RESTORE => {
            let snapshot = serde_json::from_slice(payload)?;
            agent.restore(snapshot).map(|()| b"null".to_vec())
        }
        other => Err(AgentError::invalid(format!("this agent's SDK knows no `{other}`"))),
    }
}

/// The host's door, spoken to in JSON.
struct AbiHost(BoxedHost);

impl Host for AbiHost {
    fn call(&self, method: &str, payload: Value) -> Result<Value, CallError> {
        let payload = to_json(&payload);
        let broken = |error: serde_json::Error| {
            CallError::new(
                CallErrorKind::Failed,
                format!("the host's answer to `{method}` is no JSON: {error}"),
            )
        };
        match self.0.call(method.into(), payload.as_slice().into()) {
            RResult::ROk(answer) => serde_json::from_slice(&answer).map_err(broken),
            RResult::RErr(error) => Err(serde_json::from_slice(&error).unwrap_or_else(broken)),
        }
    }
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    // The types that cross the ABI have string keys only, which is all that could fail here.
    serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec())
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps where a panic happened, which its payload does not say. The hook is the library's own copy of std's.
fn note_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        let text = format!("panicked at {place}: {}", payload_text(info.payload()));
        eprintln!("{text}");
        LAST_PANIC.set(Some(text));
    }));
}

/// Runs `body`; a panic in it becomes an error of class `Panic`.
pub fn caught<T>(body: impl FnOnce() -> T) -> Result<T, AgentError> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| AgentError {
        class: ErrorClass::Panic,
        message: LAST_PANIC.take().unwrap_or_else(|| format!("panicked: {}", payload_text(&*payload))),
    })
}

fn payload_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_exported_symbol_is_the_one_abi_stable_looks_for() {
        assert_eq!(abi_stable::library::ROOT_MODULE_LOADER_NAME, "_1as_0lib_1header_0root_bmodule_bloader");
    }
}
