//! Which system calls a host may not make, which are noticed, and what they are called.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::SeccompCmpArgLen::{self, Dword, Qword};
use seccompiler::SeccompCmpOp::{self, Eq, MaskedEq, Ne};
use seccompiler::{BackendError, SeccompCondition, SeccompRule};
use settings::Sandbox;

/// Rules by call.
pub type Rules = BTreeMap<i64, Vec<SeccompRule>>;

type Calls = &'static [(i64, &'static str)];

macro_rules! calls {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

/// Refused whatever their arguments: what reaches beyond this process, or makes another.
const REFUSED: Calls = calls![
    SYS_socket SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_execve SYS_execveat SYS_ptrace SYS_process_madvise SYS_process_mrelease SYS_kcmp
    SYS_pidfd_open SYS_pidfd_getfd SYS_pidfd_send_signal SYS_tkill SYS_setpgid SYS_setsid
    SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
    SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_unshare SYS_setns SYS_move_mount SYS_open_tree
    SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr SYS_open_by_handle_at
    SYS_fanotify_init SYS_inotify_init1 SYS_inotify_add_watch SYS_io_setup SYS_io_submit
    SYS_shmget SYS_shmat SYS_shmctl SYS_shmdt SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl
    SYS_semget SYS_semop SYS_semtimedop SYS_semctl SYS_mq_open SYS_mq_unlink
    SYS_mknodat SYS_quotactl SYS_quotactl_fd SYS_acct SYS_swapon SYS_swapoff
    SYS_keyctl SYS_add_key SYS_request_key SYS_init_module SYS_finit_module SYS_delete_module
    SYS_kexec_load SYS_kexec_file_load SYS_reboot SYS_personality SYS_seccomp SYS_syslog SYS_vhangup
    SYS_sethostname SYS_setdomainname SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex
    SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setfsuid SYS_setfsgid
    SYS_setgroups SYS_capset SYS_setrlimit SYS_setpriority SYS_ioprio_set SYS_sched_setscheduler
    SYS_sched_setparam SYS_sched_setattr SYS_sched_setaffinity SYS_migrate_pages SYS_move_pages
];
/// What only older machines have beside them.
#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: Calls = calls![
    SYS_fork SYS_vfork SYS_mknod SYS_iopl SYS_ioperm SYS_modify_ldt SYS_uselib SYS_ustat SYS_inotify_init
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: Calls = &[];

/// Refused for some arguments: see [`conditions`].
const REFUSED_WHERE: Calls = calls![
    SYS_socketpair SYS_clone SYS_kill SYS_tgkill SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_prlimit64 SYS_prctl
    SYS_ioctl SYS_fcntl SYS_process_vm_readv SYS_process_vm_writev
];

/// Refused under `strict`: what changes a file without writing it, which Landlock does not guard.
const ATTRIBUTES: Calls = calls![
    SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_utimensat
    SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
];
#[cfg(target_arch = "x86_64")]
const ATTRIBUTES_OLD: Calls = calls![SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat];
#[cfg(not(target_arch = "x86_64"))]
const ATTRIBUTES_OLD: Calls = &[];

/// Noticed under `strict`, and left to Landlock.
const FILES: Calls = calls![SYS_openat SYS_mkdirat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat SYS_truncate];
#[cfg(target_arch = "x86_64")]
const FILES_OLD: Calls =
    calls![SYS_open SYS_creat SYS_mkdir SYS_rmdir SYS_unlink SYS_rename SYS_link SYS_symlink];
#[cfg(not(target_arch = "x86_64"))]
const FILES_OLD: Calls = &[];

/// Not there: whoever asks for them falls back to `clone` and `openat`, whose arguments a filter can see.
pub const ABSENT: [i64; 2] = [libc::SYS_clone3, libc::SYS_openat2];
/// The newest call that was looked at (`mseal`, Linux 6.10); what came later is not there.
pub const NEWEST: u32 = 462;

/// Calls that change the flags of a file, as `chattr` does: the same numbers on both machines.
const FS_IOC_SETFLAGS: u64 = 0x4008_6602;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;
/// Who gets a file's SIGIO, as `F_SETOWN` says it: the same numbers on both machines.
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;
/// The same by `fcntl`, with which signal, and for changes of a folder.
const F_SETOWN: u64 = 8;
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;
const F_NOTIFY: u64 = 1026;
/// What `getpid` answered before the filter was made: nothing else may be signalled or read.
type OwnPid = u64;

/// What is refused in this mode whatever its arguments.
pub fn refused(mode: Sandbox) -> impl Iterator<Item = i64> {
    let attributes = [ATTRIBUTES, ATTRIBUTES_OLD].into_iter().filter(move |_| mode == Sandbox::Strict);
    [REFUSED, REFUSED_OLD].into_iter().chain(attributes).flatten().map(|(call, _)| *call)
}

/// What is noticed in this mode, and left to Landlock.
pub fn noticed(mode: Sandbox) -> impl Iterator<Item = i64> {
    let files = [FILES, FILES_OLD].into_iter().filter(move |_| mode == Sandbox::Strict);
    files.flatten().map(|(call, _)| *call)
}

/// Whether it is one of those.
pub fn is_noticed(call: i64) -> bool {
    [FILES, FILES_OLD].into_iter().flatten().any(|(noticed, _)| *noticed == call)
}

/// As its manual page is called.
pub fn name(call: i64) -> &'static str {
    let all = [REFUSED, REFUSED_OLD, REFUSED_WHERE, ATTRIBUTES, ATTRIBUTES_OLD, FILES, FILES_OLD];
    let found = all.into_iter().flatten().find(|(known, _)| *known == call);
    found.map_or("a system call", |(_, name)| name.trim_start_matches("SYS_"))
}

/// What is refused in this mode for some arguments: where all conditions of one of its rules hold.
pub fn conditions(mode: Sandbox, own: OwnPid) -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    let mut refuse = |call: i64, when: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)]| {
        let when = when
            .iter()
            .map(|(arg, length, op, value)| SeccompCondition::new(*arg, length.clone(), op.clone(), *value));
        rules.entry(call).or_default().push(SeccompRule::new(when.collect::<Result<_, _>>()?)?);
        Ok::<_, BackendError>(())
    };
    // A pair within the process leads nowhere, but for datagrams: `sendto` takes them to any socket with a path.
    refuse(libc::SYS_socketpair, &[(0, Dword, Ne, libc::AF_UNIX as u64)])?;
    // SOCK_STREAM is 1 and SOCK_SEQPACKET 5: of the type's four bits these must be as there.
    for (bit, value) in [(1, 0), (2, 2), (8, 8)] {
        refuse(libc::SYS_socketpair, &[(1, Dword, MaskedEq(bit), value)])?;
    }
    // A file's owner gets signals from the kernel, which asks nobody: any process of the same user could be killed.
    for command in [F_SETOWN, F_SETSIG, F_SETOWN_EX, F_NOTIFY] {
        refuse(libc::SYS_fcntl, &[(1, Dword, Eq, command)])?;
    }
    // A thread is no process.
    refuse(libc::SYS_clone, &[(0, Qword, MaskedEq(libc::CLONE_THREAD as u64), 0)])?;
    // 0 is the own group, in which nothing else can be.
    for call in [libc::SYS_kill, libc::SYS_rt_sigqueueinfo] {
        refuse(call, &[(0, Dword, Ne, own), (0, Dword, Ne, 0)])?;
    }
    for call in [
        libc::SYS_tgkill,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
    ] {
        refuse(call, &[(0, Dword, Ne, own)])?;
    }
    // Limits may be read, and only the own ones: root could raise them.
    refuse(libc::SYS_prlimit64, &[(2, Qword, Ne, 0)])?;
    refuse(libc::SYS_prlimit64, &[(0, Dword, Ne, own), (0, Dword, Ne, 0)])?;
    // A filter of its own could take calls from the daemon; without dumps, the daemon reads no paths of it.
    for option in [libc::PR_SET_SECCOMP, libc::PR_SET_DUMPABLE] {
        refuse(libc::SYS_prctl, &[(0, Dword, Eq, option as u64)])?;
    }
    // Typing on a terminal that is another's; a file's owner.
    let mut ioctls = vec![libc::TIOCSTI, libc::TIOCLINUX, FIOSETOWN, SIOCSPGRP];
    if mode == Sandbox::Strict {
        ioctls.extend([FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR]);
    }
    for request in ioctls {
        refuse(libc::SYS_ioctl, &[(1, Dword, Eq, request)])?;
    }
    Ok(rules)
}
