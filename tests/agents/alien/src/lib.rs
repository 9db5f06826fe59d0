//! A library whose root module has the name of an agent's, and another layout: abi_stable must refuse it, before any
//! of its functions is called.

// abi_stable's macros name the prefix type and export a static without a doc.
#![allow(non_camel_case_types, missing_docs)]

use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RStr, RVec};

/// Like the agent's module of the same name, but with a field before the last one of the prefix, and a `create` that
/// takes and answers something else.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = AgentModuleV1_Ref)))]
#[sabi(missing_field(panic))]
pub struct AgentModuleV1 {
    /// As an agent has it.
    pub describe: extern "C" fn() -> RVec<u8>,
    /// What no agent has.
    pub probe: extern "C" fn() -> u64,
    /// Not as an agent has it.
    #[sabi(last_prefix_field)]
    pub create: extern "C" fn(settings: u64) -> u64,
}

impl RootModule for AgentModuleV1_Ref {
    abi_stable::declare_root_module_statics! {AgentModuleV1_Ref}
    // All as in agent-api's `abi.rs`, so that the layout is what differs.
    const BASE_NAME: &'static str = "openclaw_agent";
    const NAME: &'static str = "openclaw_agent";
    const VERSION_STRINGS: VersionStrings = VersionStrings { version: RStr::from_str("1.0.0") };
}

extern "C" fn describe() -> RVec<u8> {
    // A good manifest: only the layout gives a reason to refuse.
    br#"{"name":"alien","version":"0.1.0","sdk":"9.9.9","description":"Must never be loaded."}"#.to_vec().into()
}

extern "C" fn probe() -> u64 {
    1
}

extern "C" fn create(settings: u64) -> u64 {
    settings
}

/// What the library exports.
#[abi_stable::export_root_module]
pub fn module() -> AgentModuleV1_Ref {
    AgentModuleV1 { describe, probe, create }.leak_into_prefix()
}

#[cfg(test)]
mod tests {
    use abi_stable::StableAbi;
    use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
    use openclaw_agent_api::abi;

    #[test]
    fn its_layout_is_refused_and_an_agents_is_not() {
        let host = <abi::AgentModuleV1_Ref as StableAbi>::LAYOUT;
        let alien = <super::AgentModuleV1_Ref as StableAbi>::LAYOUT;
        assert_eq!(host.name(), alien.name());
        assert!(check_layout_compatibility(host, host).is_ok());
        let refused = check_layout_compatibility(host, alien).unwrap_err().to_string();
        assert!(refused.contains("probe"), "{refused}");
    }
}
