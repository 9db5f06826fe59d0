//! seccomp: the filters, as the kernel takes them. See seccomp(2) and seccomp_unotify(2).

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, sock_filter};
use settings::Sandbox;

use super::InForce;
use super::calls::{self, Rules};

/// seccompiler knows no notification: this stands for it until the program is made.
const STAND_IN: u16 = 0x0c1a;
/// Numbers from here on are x86-64's second table (x32), which the rules do not know.
const X32: u32 = 0x4000_0000;

/// Installs both filters for this thread and all that it makes; answers the listener of the second.
pub fn install(mode: Sandbox, sandbox: &mut InForce) -> Result<Option<OwnedFd>, String> {
    let failed = |what: &dyn std::fmt::Display| {
        format!("seccomp cannot be set up ({what}): `sandbox = \"off\"` does without")
    };
    let absent = absent().map_err(|error| failed(&error))?;
    let own = u64::from(std::process::id());
    match load(&absent, 0) {
        Ok(_) => {}
        // EINVAL: built without filters.
        Err(Errno::ENOSYS | Errno::EINVAL) => {
            sandbox.lacking.push("seccomp".into());
            return Ok(None);
        }
        Err(errno) => return Err(failed(&errno)),
    }
    sandbox.in_force.push("seccomp".into());
    let mut rules = calls::refused(mode, own).map_err(|error| failed(&error))?;
    let silent = rules.clone();
    if mode == Sandbox::Strict {
        rules.extend(calls::noticed());
    }
    let noticing = noticing(rules).map_err(|error| failed(&error))?;
    match load(&noticing, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER) {
        Ok(listener) => {
            sandbox.in_force.push("violations logged".into());
            // SAFETY: the kernel has just made it for this call, which is its only owner.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }))
        }
        // EBUSY: a filter around this process has a listener, and there can be one only.
        Err(Errno::EBUSY | Errno::EINVAL) => {
            sandbox.lacking.push("violations logged".into());
            let silent = compile(silent, SeccompAction::Errno(libc::EPERM as u32));
            let silent = silent.map_err(|error| failed(&error))?;
            load(&silent, 0).map(|_| None).map_err(|errno| failed(&errno))
        }
        Err(errno) => Err(failed(&errno)),
    }
}

fn compile(rules: Rules, action: SeccompAction) -> Result<BpfProgram, BackendError> {
    let machine = std::env::consts::ARCH.try_into()?;
    // It begins with the machine: a call by another one's table ends the process.
    SeccompFilter::new(rules, SeccompAction::Allow, action, machine)?.try_into()
}

fn absent() -> Result<BpfProgram, BackendError> {
    let enosys = SeccompAction::Errno(libc::ENOSYS as u32);
    let program = compile(calls::ABSENT.map(|call| (call, Vec::new())).into(), enosys)?;
    let statement = |code: u32, k| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k, jt, jf| sock_filter { code: code as u16, jt, jf, k };
    // By the number, which stands first of what a filter sees: newer calls are absent too. A 32-bit call is judged by
    // its machine, below.
    let mut whole = vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        jump(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, X32, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
        jump(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, calls::NEWEST, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ];
    whole.extend(program);
    Ok(whole)
}

fn noticing(rules: Rules) -> Result<BpfProgram, BackendError> {
    let mut program = compile(rules, SeccompAction::Trace(STAND_IN.into()))?;
    let stand_in = libc::SECCOMP_RET_TRACE | u32::from(STAND_IN);
    for step in &mut program {
        if u32::from(step.code) == libc::BPF_RET | libc::BPF_K && step.k == stand_in {
            step.k = libc::SECCOMP_RET_USER_NOTIF;
        }
    }
    Ok(program)
}

/// Answers what the kernel does: a descriptor, where a listener was asked for.
fn load(program: &[sock_filter], flags: libc::c_ulong) -> Result<i32, Errno> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies the program, which lives until after the call; seccompiler's instruction has the
    // layout of the kernel's. What a filter does to later calls is its purpose.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    Errno::result(answer).map(|descriptor| descriptor as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stand_in_becomes_a_notification() {
        let rules = calls::refused(Sandbox::Strict, 1).unwrap();
        let program = noticing(rules.clone()).unwrap();
        let ends = |k| program.iter().filter(|step| step.code == 0x06 && step.k == k).count();
        assert!(ends(libc::SECCOMP_RET_USER_NOTIF) >= rules.len());
        let known = [libc::SECCOMP_RET_USER_NOTIF, libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_KILL_PROCESS];
        assert!(program.iter().all(|step| step.code != 0x06 || known.contains(&step.k)));
    }

    /// Filters hold a thread: each of these has its own.
    fn on_a_thread(body: impl FnOnce() + Send + 'static) {
        std::thread::spawn(body).join().unwrap();
    }

    fn called(call: i64) -> Result<i64, Errno> {
        // SAFETY: all arguments are zero, so no memory is touched.
        Errno::result(unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) })
    }

    #[test]
    fn where_another_filter_listens_calls_are_refused_without_a_word() {
        on_a_thread(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let nothing = sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
            load(&[nothing], libc::SECCOMP_FILTER_FLAG_NEW_LISTENER).unwrap();
            let mut sandbox = InForce::default();
            assert!(install(Sandbox::Strict, &mut sandbox).unwrap().is_none());
            assert_eq!(
                (sandbox.in_force, sandbox.lacking),
                (vec!["seccomp".into()], vec!["violations logged".into()])
            );
            assert_eq!(called(libc::SYS_socket), Err(Errno::EPERM));
            assert_eq!(called(libc::SYS_clone), Err(Errno::EPERM));
            assert_eq!(called(libc::SYS_fchmod), Err(Errno::EPERM));
            assert!(std::fs::File::open("/dev/null").is_ok());
        });
    }

    #[test]
    fn without_a_listener_what_is_noticed_fails() {
        on_a_thread(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            drop(install(Sandbox::Strict, &mut InForce::default()).unwrap());
            for call in [libc::SYS_socket, libc::SYS_openat, libc::SYS_openat2, i64::from(calls::NEWEST) + 1]
            {
                assert_eq!(called(call), Err(Errno::ENOSYS), "{call}");
            }
        });
    }

    #[test]
    fn relaxed_refuses_less_and_the_newest_call_is_known() {
        let strict = calls::refused(Sandbox::Strict, 1).unwrap();
        let relaxed = calls::refused(Sandbox::Relaxed, 1).unwrap();
        assert!(relaxed.keys().all(|call| strict.contains_key(call)) && relaxed.len() < strict.len());
        assert!(!relaxed.contains_key(&libc::SYS_fchmod) && relaxed.contains_key(&libc::SYS_socket));
        let newest = strict.keys().chain(calls::ABSENT.iter()).max().unwrap();
        assert!(*newest <= i64::from(calls::NEWEST));
        assert!(
            strict.keys().chain(calls::noticed().keys()).all(|call| calls::name(*call) != "a system call")
        );
    }
}
