//! What root may beyond its own files, taken away: capabilities(7).

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

use super::{InForce, Trouble};

/// Takes all of them from this thread and those that it makes, and none can be had again.
pub fn drop_all(sandbox: &mut InForce) -> Result<(), Trouble> {
    let failed = |what: &str, errno: Errno| {
        let text = format!("{what} ({errno}): `sandbox = \"off\"` does without");
        Trouble::new(Some(errno.raw_os_error()), text)
    };
    set_no_new_privs(true).map_err(|errno| failed("no_new_privs cannot be set", errno))?;
    let kept = |errno| failed("capabilities cannot be dropped", errno);
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // The kernel knows no more of them; or this is not root, who can gain none of them by running a program.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(errno) => return Err(kept(errno)),
        }
    }
    match clear_ambient_capability_set() {
        // Older than ambient capabilities.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(kept(errno)),
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .map_err(kept)?;
    sandbox.in_force.extend(["no_new_privs".into(), "no capabilities".into()]);
    Ok(())
}
