//! The frozen binary interface between a host process and an agent's library: two doors made of bytes.
//!
//! abi_stable rejects every older library as soon as the host's module gains one trailing field, so this module
//! never changes. Whatever is new later is a new *kind* of [`AgentObjectV1::handle`] or a new *method* of
//! [`HostObjectV1::call`], each with a JSON payload.
//!
//! | door | direction | names | payload |
//! |---|---|---|---|
//! | `describe` | host → agent | | the [`Manifest`](crate::manifest::Manifest) |
//! | `create` | host → agent | | the agent's settings; refused with an [`AgentError`](crate::agent::AgentError) |
//! | `handle` | host → agent | [`kinds`] | see there |
//! | `call` | agent → host | [`methods`] | see there |

// abi_stable 0.11.3's `sabi_trait` puts its impls inside functions, which newer compilers warn of. It is its code.
#![allow(non_local_definitions, non_camel_case_types, missing_docs)]

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_trait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RBox, RResult, RSlice, RStr, RVec};

/// What [`AgentObjectV1::handle`] is asked to do.
pub mod kinds {
    /// Called once, after `create` and before any message. Payload and answer: null.
    pub const START: &str = "start";
    /// A [`Message`](crate::agent::Message); the answer is a [`Reply`](crate::agent::Reply).
    pub const MESSAGE: &str = "message";
    /// A schedule of the manifest is due. Payload: a message whose text is the schedule's name.
    pub const TICK: &str = "tick";
    /// Hand over the state in memory. The answer is any JSON.
    pub const SNAPSHOT: &str = "snapshot";
    /// Take over a predecessor's snapshot. Payload: that JSON.
    pub const RESTORE: &str = "restore";
    /// The last call. Payload and answer: null.
    pub const STOP: &str = "stop";
}

/// What [`HostObjectV1::call`] is asked to do; each is a grant's name, or begins with one and a dot.
pub mod methods {
    /// `{level, text}`: answered by the host itself, needs no grant.
    pub const LOG: &str = "log";
    /// Answers the time, RFC 3339; needs no grant.
    pub const NOW: &str = "now";
    pub const MEMORY_GET: &str = "memory.get";
    pub const MEMORY_SET: &str = "memory.set";
    pub const MEMORY_DELETE: &str = "memory.delete";
    pub const MEMORY_LIST: &str = "memory.list";
    pub const MEMORY_REMEMBER: &str = "memory.remember";
    pub const MEMORY_TURNS: &str = "memory.turns";
    pub const PUBLISH: &str = "publish";
    /// `{prompt}` or `{messages: [{role, text}]}`, and if wanted `model`, `max_tokens`, `within_ms`; answers the text.
    pub const ASK: &str = "ask";
    /// `{query}`, and if wanted `limit`; answers hits.
    pub const SEARCH: &str = "search";
    /// `{url}`; answers a page.
    pub const FETCH: &str = "fetch";
    /// `{mission: {title}}`, and if wanted `id` (the same for the same), `confidence`, `expires_at`, and whatever else; answers its id.
    pub const MISSIONS_PROPOSE: &str = "missions.propose";
    /// What was proposed, newest first.
    pub const MISSIONS_LIST: &str = "missions.list";
    /// `{id, verdict, reason}`: what the person decided whose message this task is; answers the mission.
    pub const MISSIONS_DECIDE: &str = "missions.decide";
    /// Work for another agent, committed with the sender's own completion.
    pub const TASK_SUBMIT: &str = "task.submit";
    /// Work for another agent, waited for.
    pub const TASK_RUN: &str = "task.run";
    pub const TASK_LIST: &str = "task.list";
    pub const SUPERVISOR_STATUS: &str = "supervisor.status";
    pub const SUPERVISOR_RESTART: &str = "supervisor.restart";
    pub const SYSTEM_RESOURCES: &str = "system.resources";
    pub const SYSTEM_SERVICES: &str = "system.services";
    /// `{unit, reason}`: systemd is told to restart one of openclaw's services; whether it then runs, `system.services` shows.
    pub const SYSTEM_RESTART: &str = "system.restart";
    /// What the heartbeat bridge thinks of each agent.
    pub const SUPERVISOR_HEARTBEATS: &str = "supervisor.heartbeats";
    /// How much of each budget of provider calls is used.
    pub const SUPERVISOR_BUDGETS: &str = "supervisor.budgets";
    /// `{key, level, text}`: the operator is told; the same key is the same alert.
    pub const ALERT_RAISE: &str = "alert.raise";
    /// `{key, text}`: that alert is over.
    pub const ALERT_RESOLVE: &str = "alert.resolve";

    /// `{scope, name, reason}`, with the scope `agent` or `provider`: it is left alone for a while.
    pub const BREAKER_OPEN: &str = "breaker.open";
    /// The same: it is asked again at once.
    pub const BREAKER_CLOSE: &str = "breaker.close";

    /// `{key, text}`: a message to the operators' chats; the same key is the same message.
    pub const NOTIFY: &str = "notify";

    /// Every method that needs a grant.
    pub const GRANTED: [&str; 28] = [
        MEMORY_GET,
        MEMORY_SET,
        MEMORY_DELETE,
        MEMORY_LIST,
        MEMORY_REMEMBER,
        MEMORY_TURNS,
        PUBLISH,
        ASK,
        SEARCH,
        FETCH,
        MISSIONS_PROPOSE,
        MISSIONS_LIST,
        MISSIONS_DECIDE,
        TASK_SUBMIT,
        TASK_RUN,
        TASK_LIST,
        SUPERVISOR_STATUS,
        SUPERVISOR_RESTART,
        SYSTEM_RESOURCES,
        SYSTEM_SERVICES,
        SYSTEM_RESTART,
        SUPERVISOR_HEARTBEATS,
        SUPERVISOR_BUDGETS,
        ALERT_RAISE,
        ALERT_RESOLVE,
        BREAKER_OPEN,
        BREAKER_CLOSE,
        NOTIFY,
    ];
}

/// An answer: JSON, or the JSON of an error.
pub type Answer = RResult<RVec<u8>, RVec<u8>>;

/// The agent, as its host sees it. Called from several threads at once.
#[sabi_trait]
pub trait AgentObjectV1: Send + Sync {
    /// Does what `kind` says. Never unwinds: the SDK turns a panic into an error.
    #[sabi(last_prefix_field)]
    fn handle(&self, kind: RStr<'_>, payload: RSlice<'_, u8>) -> Answer;
}

/// The host, as its agent sees it. Called from any thread; blocks until the daemon has answered.
#[sabi_trait]
pub trait HostObjectV1: Send + Sync {
    /// Asks the daemon for what `method` says.
    #[sabi(last_prefix_field)]
    fn call(&self, method: RStr<'_>, payload: RSlice<'_, u8>) -> Answer;
}

/// An agent behind the ABI.
pub type BoxedAgent = AgentObjectV1_TO<'static, RBox<()>>;
/// A host behind the ABI.
pub type BoxedHost = HostObjectV1_TO<'static, RBox<()>>;

/// What a library exports, through `export_agent!`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AgentModuleV1_Ref)))]
#[sabi(missing_field(panic))]
pub struct AgentModuleV1 {
    /// The manifest, JSON.
    pub describe: extern "C" fn() -> RVec<u8>,
    /// Makes the agent from its settings, or says in JSON why not.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(host: BoxedHost, settings: RSlice<'_, u8>) -> RResult<BoxedAgent, RVec<u8>>,
}

impl RootModule for AgentModuleV1_Ref {
    abi_stable::declare_root_module_statics! {AgentModuleV1_Ref}
    const BASE_NAME: &'static str = "openclaw_agent";
    const NAME: &'static str = "openclaw_agent";
    // The interface's own version, not the crate's: frozen with the module.
    const VERSION_STRINGS: VersionStrings =
        VersionStrings { version: abi_stable::std_types::RStr::from_str("1.0.0") };
}
