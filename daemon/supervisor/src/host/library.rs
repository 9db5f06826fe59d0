//! Opens an agent's library. Every refusal is one sentence: what, why, what to do.

use std::fs::File;
use std::path::Path;

use abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use openclaw_agent_api::abi::AgentModuleV1_Ref;
use openclaw_agent_api::manifest::Manifest;

use crate::library::elf;

/// Opens the library, which was inspected and which the operator knows as `shown`, and reads its manifest.
pub fn open(path: &Path, shown: &Path) -> Result<(AgentModuleV1_Ref, Manifest), String> {
    let module = module(path, shown)?;
    let manifest = (module.describe())();
    let manifest = serde_json::from_slice(&manifest).map_err(|error| {
        format!("{} gives no readable manifest ({error}): mend `Agent::describe`", shown.display())
    })?;
    Ok((module, manifest))
}

/// Once more before `dlopen`: it costs microseconds, and nothing else stands between a half-written file and a SIGBUS.
pub fn inspect(path: &Path, shown: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| {
        let shown = shown.display();
        format!("the private copy of {shown} cannot be read ({error}): copy the library there again")
    })?;
    elf::inspect(&file, shown)
}

fn module(path: &Path, shown: &Path) -> Result<AgentModuleV1_Ref, String> {
    let shown = shown.display();
    // SAFETY: opening runs the library's constructors: that is what this process is for. It is never closed, so
    // everything found in it lives as long as the process. RTLD_NOW: a missing symbol is a refusal now, not a
    // crash later. The path is absolute, so no library path is searched.
    let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }
        .map_err(|error| format!("{shown} cannot be loaded: {error}"))?;
    // SAFETY: the symbol, where it exists, is the static `LibHeader` that `export_agent!` makes under abi_stable's
    // own name; `upgrade` checks its magic and version before anything else of it is read.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|_| {
            format!("{shown} has no agent in it: add `export_agent!(YourAgent);` and build it again")
        })?;
    std::mem::forget(library);
    let module = header.upgrade().and_then(|header| header.init_root_module::<AgentModuleV1_Ref>());
    module.map_err(|error| format!("{shown} {}", sentence(&error)))
}

/// abi_stable's own text runs to hundreds of lines.
fn sentence(error: &LibraryError) -> String {
    let rebuild = "build it again with the openclaw-agent-api of this OpenClaw";
    match error {
        LibraryError::AbiInstability(_) => format!("has another layout than this OpenClaw's ABI: {rebuild}"),
        LibraryError::InvalidAbiHeader(_) | LibraryError::InvalidCAbi { .. } => {
            format!("was built with another abi_stable: {rebuild}")
        }
        LibraryError::IncompatibleVersionNumber { expected_version, actual_version, .. } => {
            format!("speaks version {actual_version} of the ABI, this OpenClaw {expected_version}: {rebuild}")
        }
        other => {
            let text = other.to_string();
            let first =
                text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("for an unknown reason");
            format!("does not load ({first}): {rebuild}")
        }
    }
}
