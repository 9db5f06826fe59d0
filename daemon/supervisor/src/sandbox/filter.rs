//! seccomp: the filter, as the kernel takes it. See seccomp(2) and seccomp_unotify(2).

use std::collections::BTreeMap;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, sock_filter};
use settings::Sandbox;

use super::calls;
use super::{InForce, Trouble, WATCHED};

/// seccompiler knows no notification: this stands for it until the program is made.
const STAND_IN: u16 = 0x0c1a;
/// Numbers from here on are x86-64's second table (x32), which the rules do not know.
const X32: u32 = 0x4000_0000;
/// Where the two stand in what a filter sees (`seccomp_data`).
const NUMBER_AT: u32 = 0;
const MACHINE_AT: u32 = 4;
/// As the kernel calls this machine (`linux/audit.h`).
#[cfg(target_arch = "x86_64")]
const MACHINE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const MACHINE: u32 = 0xc000_00b7;

/// Installs the filter for this thread and all that it makes; answers its listener.
pub fn install(mode: Sandbox, sandbox: &mut InForce) -> Result<Option<OwnedFd>, Trouble> {
    let failed = |what: &dyn std::fmt::Display| {
        format!("seccomp cannot be set up ({what}): `sandbox = \"off\"` does without")
    };
    let refused = |errno: Errno| Trouble::new(Some(errno as i32), failed(&errno));
    let own = u64::from(std::process::id());
    let noticing = program(mode, own, true).map_err(|error| failed(&error))?;
    match load(&noticing, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER) {
        Ok(listener) => {
            sandbox.in_force.extend(["seccomp".into(), WATCHED.into()]);
            // SAFETY: the kernel has just made it for this call, which is its only owner.
            return Ok(Some(unsafe { OwnedFd::from_raw_fd(listener) }));
        }
        // EBUSY: a filter around this process has a listener, and there can be one only. EINVAL: the kernel is older
        // than listeners, or has no filters at all.
        Err(Errno::EBUSY | Errno::EINVAL | Errno::ENOSYS) => {}
        Err(errno) => return Err(refused(errno)),
    }
    let silent = program(mode, own, false).map_err(|error| failed(&error))?;
    match load(&silent, 0) {
        Ok(_) => {
            sandbox.in_force.push("seccomp".into());
            sandbox.lacking.push(WATCHED.into());
        }
        Err(Errno::EINVAL | Errno::ENOSYS) => sandbox.lacking.push("seccomp".into()),
        Err(errno) => return Err(refused(errno)),
    }
    Ok(None)
}

/// What the kernel runs for each call: the machine, then the number, then the arguments.
fn program(mode: Sandbox, own: u64, listens: bool) -> Result<BpfProgram, BackendError> {
    let refused = match listens {
        true => libc::SECCOMP_RET_USER_NOTIF,
        false => libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
    };
    let mut program = vec![
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, MACHINE_AT),
        jump(libc::BPF_JEQ, MACHINE, 1, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS),
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, NUMBER_AT),
    ];
    program.extend(by_number(mode, refused, listens)?);
    let machine = std::env::consts::ARCH.try_into()?;
    let (allow, stand_in) = (SeccompAction::Allow, SeccompAction::Trace(STAND_IN.into()));
    let conditions = SeccompFilter::new(calls::conditions(mode, own)?, allow, stand_in, machine)?;
    let mut by_arguments: BpfProgram = conditions.try_into()?;
    let stand_in = libc::SECCOMP_RET_TRACE | u32::from(STAND_IN);
    for step in &mut by_arguments {
        if u32::from(step.code) == libc::BPF_RET | libc::BPF_K && step.k == stand_in {
            step.k = refused;
        }
    }
    program.extend(by_arguments);
    Ok(program)
}

/// Decides by the number, or goes on behind its end.
///
/// A tree: the kernel tries a new filter with each number that there is, and a list as long as this one, as
/// seccompiler makes it, took a third of a millisecond.
fn by_number(mode: Sandbox, refused: u32, listens: bool) -> Result<BpfProgram, BackendError> {
    let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut decided: BTreeMap<u32, u32> = calls::ABSENT.map(|call| (call as u32, absent)).into();
    decided.extend(calls::refused(mode).map(|call| (call as u32, refused)));
    if listens {
        decided.extend(calls::noticed(mode).map(|call| (call as u32, refused)));
    }
    // What holds from a number on, up to the next one.
    let mut from = vec![(0, None)];
    for (call, action) in decided {
        from.pop_if(|(last, _)| *last == call);
        if from.last().is_none_or(|(_, last)| *last != Some(action)) {
            from.push((call, Some(action)));
        }
        from.push((call + 1, None));
    }
    from.extend([(calls::NEWEST + 1, Some(absent)), (X32, Some(libc::SECCOMP_RET_KILL_PROCESS))]);
    let mut tree = tree(&from)?;
    let end = tree.len();
    for (place, step) in tree.iter_mut().enumerate() {
        if u32::from(step.code) == libc::BPF_JMP | libc::BPF_JA {
            step.k = (end - place - 1) as u32;
        }
    }
    Ok(tree)
}

fn tree(from: &[(u32, Option<u32>)]) -> Result<BpfProgram, BackendError> {
    match from {
        [] => Ok(Vec::new()),
        [(_, Some(action))] => Ok(vec![statement(libc::BPF_RET | libc::BPF_K, *action)]),
        // To the end of the whole, which is known later.
        [(_, None)] => Ok(vec![statement(libc::BPF_JMP | libc::BPF_JA, 0)]),
        _ => {
            let (low, high) = from.split_at(from.len() / 2);
            let below = tree(low)?;
            let over = u8::try_from(below.len()).map_err(|_| BackendError::FilterTooLarge(from.len()))?;
            let first = high.first().map_or(0, |(number, _)| *number);
            let mut whole = vec![jump(libc::BPF_JGE, first, over, 0)];
            whole.extend(below);
            whole.extend(tree(high)?);
            Ok(whole)
        }
    }
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(when: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (libc::BPF_JMP | when | libc::BPF_K) as u16, jt, jf, k }
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
    use std::collections::BTreeSet;

    use super::*;

    /// What the part that decides by the number answers; none where it goes on.
    fn decision(tree: &[sock_filter], number: u32) -> Option<u32> {
        let mut at = 0;
        while let Some(step) = tree.get(at) {
            at += 1;
            at += match u32::from(step.code) {
                0x06 => return Some(step.k),
                0x05 => step.k as usize,
                0x35 if number >= step.k => step.jt.into(),
                0x35 => step.jf.into(),
                other => panic!("{other:#x}"),
            };
        }
        assert_eq!(at, tree.len());
        None
    }

    #[test]
    fn every_number_is_decided_as_listed() {
        for (mode, listens) in [(Sandbox::Strict, true), (Sandbox::Strict, false), (Sandbox::Relaxed, true)] {
            let tree = by_number(mode, 7, listens).unwrap();
            let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
            for number in (0..2000).chain([X32 - 1, X32, X32 + 39, u32::MAX]) {
                let call = i64::from(number);
                let refused = calls::refused(mode).any(|refused| refused == call);
                let noticed = listens && calls::noticed(mode).any(|noticed| noticed == call);
                let expected = match number {
                    _ if refused || noticed => Some(7),
                    _ if calls::ABSENT.contains(&call) => Some(absent),
                    X32.. => Some(libc::SECCOMP_RET_KILL_PROCESS),
                    _ if number > calls::NEWEST => Some(absent),
                    _ => None,
                };
                assert_eq!(decision(&tree, number), expected, "{number}");
            }
        }
    }

    #[test]
    fn every_end_of_the_program_is_meant() {
        let program = program(Sandbox::Strict, 1, true).unwrap();
        let ends: BTreeSet<_> = program.iter().filter(|step| step.code == 0x06).map(|step| step.k).collect();
        let meant = [
            libc::SECCOMP_RET_USER_NOTIF,
            libc::SECCOMP_RET_ALLOW,
            libc::SECCOMP_RET_KILL_PROCESS,
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        ];
        assert_eq!(ends, meant.into());
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
            assert_eq!(called(libc::SYS_accept4), Err(Errno::EPERM));
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
    fn every_call_is_older_than_the_newest_and_has_a_name() {
        let conditional = calls::conditions(Sandbox::Strict, 1).unwrap();
        let all = calls::refused(Sandbox::Strict).chain(calls::noticed(Sandbox::Strict)).chain(calls::ABSENT);
        for call in all.chain(conditional.into_keys()) {
            assert!(call <= i64::from(calls::NEWEST), "{call}");
            assert!(calls::ABSENT.contains(&call) || calls::name(call) != "a system call", "{call}");
        }
        assert!(calls::noticed(Sandbox::Relaxed).next().is_none());
        assert!(!calls::refused(Sandbox::Relaxed).any(|call| call == libc::SYS_fchmod));
    }
}
