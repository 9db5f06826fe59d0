//! Opens an agent's library. Every refusal is one sentence: what, why, what to do.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use abi_stable::library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use object::LittleEndian;
use object::elf::{ET_DYN, FileHeader64, PT_LOAD};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use openclaw_agent_api::abi::AgentModuleV1_Ref;
use openclaw_agent_api::manifest::Manifest;

/// Opens the library, which was inspected, and reads its manifest.
pub fn open(path: &Path) -> Result<(AgentModuleV1_Ref, Manifest), String> {
    let module = module(path)?;
    let manifest = (module.describe())();
    let manifest = serde_json::from_slice(&manifest).map_err(|error| {
        format!("{} gives no readable manifest ({error}): mend `Agent::describe`", path.display())
    })?;
    Ok((module, manifest))
}

/// A half-written library would be a SIGBUS inside `dlopen`: its headers must fit the file's size. Only they are read:
/// a restart must not pay for the whole file.
pub fn inspect(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            format!(
                "there is no library {shown}: build the agent, copy it there, then `openclaw agents start` it"
            )
        }
        _ => format!("{shown} cannot be read: {error}"),
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let cache = ReadCache::new(file);
    let rebuild = "copy it again from a finished build";
    let header = FileHeader64::<LittleEndian>::parse(&cache)
        .map_err(|_| format!("{shown} is no 64-bit ELF library ({}): {rebuild}", begins_with(&head)))?;
    let endian =
        header.endian().map_err(|_| format!("{shown} is for another machine: build it for this one"))?;
    if header.e_type(endian) != ET_DYN || header.e_machine(endian) != MACHINE {
        return Err(format!(
            "{shown} is no shared library for this machine: build it here with crate-type cdylib"
        ));
    }
    let truncated =
        || format!("{shown} is cut short: its headers speak of more than its {size} bytes; {rebuild}");
    let segments = header.program_headers(endian, &cache).map_err(|_| truncated())?;
    header.section_headers(endian, &cache).map_err(|_| truncated())?;
    let beyond = |segment: &object::elf::ProgramHeader64<LittleEndian>| {
        let end = segment.p_offset(endian).checked_add(segment.p_filesz(endian));
        segment.p_type(endian) == PT_LOAD && end.is_none_or(|end| end > size)
    };
    if segments.iter().any(beyond) { Err(truncated()) } else { Ok(()) }
}

#[cfg(target_arch = "x86_64")]
const MACHINE: object::elf::Machine = object::elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: object::elf::Machine = object::elf::EM_AARCH64;

/// So much of a file that is no library is shown.
const HEAD: u64 = 16;

fn begins_with(head: &[u8]) -> String {
    if head.is_empty() {
        return "it is empty".into();
    }
    let head: String = String::from_utf8_lossy(head).escape_debug().collect();
    format!("it begins with `{head}`")
}

fn module(path: &Path) -> Result<AgentModuleV1_Ref, String> {
    let shown = path.display();
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
