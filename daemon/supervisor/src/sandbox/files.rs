//! Landlock: which files a host may read and write.

use std::error::Error;
use std::io;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::reach::{NULL, SYSTEM};
use super::{InForce, LANDLOCK, Trouble};

/// What is asked for; an older kernel gives what it has.
const WANTED: ABI = ABI::V7;
/// From which version on the kernel has what is wanted.
const SINCE: [(ABI, &str); 4] = [
    (ABI::V2, "landlock of renaming (abi 2)"),
    (ABI::V3, "landlock of truncating (abi 3)"),
    (ABI::V4, "landlock of TCP (abi 4)"),
    (ABI::V6, "landlock of signals and abstract sockets (abi 6)"),
];

/// Lets this thread, and all that it makes, reach nothing else.
pub fn restrict(read: [&Path; 2], workspace: &Path, sandbox: &mut InForce) -> Result<(), Trouble> {
    let failed = |error: RulesetError| {
        let text = format!("Landlock cannot be set up ({error}): `sandbox = \"relaxed\"` does without");
        Trouble::new(errno(&error), text)
    };
    let (status, landlock) = apply(read, workspace).map_err(failed)?;
    let abi = match landlock {
        LandlockStatus::Available { effective_abi, .. } if status != RulesetStatus::NotEnforced => {
            effective_abi
        }
        _ => {
            sandbox.lacking.push("landlock".into());
            return Ok(());
        }
    };
    sandbox.in_force.push(format!("{LANDLOCK}{}", abi as i32));
    sandbox.lacking.extend(SINCE.iter().filter(|(since, _)| abi < *since).map(|(_, what)| (*what).into()));
    Ok(())
}

/// What the kernel answered, deep inside.
fn errno(error: &RulesetError) -> Option<i32> {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error();
        }
        cause = error.source();
    }
    None
}

fn apply(own: [&Path; 2], workspace: &Path) -> Result<(RulesetStatus, LandlockStatus), RulesetError> {
    let read = AccessFs::from_read(WANTED);
    // No devices, sockets or programs: a device node would open the disk.
    let write: BitFlags<AccessFs> = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    // What is not there needs no rule.
    let own = own.into_iter().chain(["/proc/self", "/proc/self/exe"].map(Path::new));
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM.iter().map(Path::new).chain(own), read))?
        .add_rules(path_beneath_rules([workspace, Path::new(NULL)], write))?
        .restrict_self()?;
    Ok((status.ruleset, status.landlock))
}
