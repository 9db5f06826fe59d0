//! Whether a file can be a whole library for this machine, told by its ELF headers alone.
//!
//! A half-written library would be a SIGBUS inside `dlopen`.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use object::LittleEndian;
use object::elf::{ET_DYN, FileHeader64, PT_DYNAMIC, PT_LOAD, SHT_NOBITS, SectionHeader64};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

#[cfg(target_arch = "x86_64")]
const MACHINE: object::elf::Machine = object::elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: object::elf::Machine = object::elf::EM_AARCH64;

/// So much of a file that is no library is shown.
const HEAD: u64 = 16;

/// Reads only the headers: a start must not pay for the whole file. `shown` is the name that the operator knows it by.
///
/// # Errors
/// A sentence: it is no library for this machine, or not all of one.
pub fn inspect(mut file: &File, shown: &Path) -> Result<(), String> {
    let shown = shown.display();
    let unreadable = |error: io::Error| format!("{shown} cannot be read: {error}");
    let mut head = Vec::new();
    file.rewind().map_err(unreadable)?;
    file.take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
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
    let sections = header.section_headers(endian, &cache).map_err(|_| truncated())?;
    let beyond = |(begin, length): (u64, u64)| begin.checked_add(length).is_none_or(|end| end > size);
    let in_file = |section: &&SectionHeader64<LittleEndian>| section.sh_type(endian) != SHT_NOBITS;
    let extent =
        |section: &SectionHeader64<LittleEndian>| (section.sh_offset(endian), section.sh_size(endian));
    if segments.iter().any(|segment| beyond(segment.file_range(endian)))
        // The first one is always empty; its size may stand for the number of sections.
        || sections.iter().skip(1).filter(in_file).map(extent).any(beyond)
    {
        return Err(truncated());
    }
    let has = |kind| segments.iter().any(|segment| segment.p_type(endian) == kind);
    let fits = segments.iter().all(|segment| {
        segment.p_type(endian) != PT_LOAD || segment.p_filesz(endian) <= segment.p_memsz(endian)
    });
    if has(PT_LOAD) && has(PT_DYNAMIC) && fits {
        Ok(())
    } else {
        Err(format!("{shown} has nothing in it that could be loaded: {rebuild}"))
    }
}

fn begins_with(head: &[u8]) -> String {
    if head.is_empty() {
        return "it is empty".into();
    }
    let head: String = String::from_utf8_lossy(head).escape_debug().collect();
    format!("it begins with `{head}`")
}
