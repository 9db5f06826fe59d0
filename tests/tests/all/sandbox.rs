//! What an agent's process cannot do: a library that tries each.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use openclaw_tests::daemon::{Daemon, Home};
use openclaw_tests::wait_for;
use serde_json::Value;

use crate::support::{ask, ended, leave, pid, quick, reply, scout_answers, task};

/// What the agent says when the kernel refused it.
const REFUSED: &str = "Operation not permitted (os error 1)";
/// When Landlock did.
const DENIED: &str = "Permission denied (os error 13)";

/// A daemon with the escaping agent. Ten violations a second are told: no test of others tries more.
struct Case {
    home: Home,
    daemon: Daemon,
    host: i32,
}

impl Case {
    fn new(mode: &str) -> Result<Self> {
        let config = quick(&format!("[agents.escaping]\nsandbox = \"{mode}\"\n"));
        let home = Home::new(&config, &["scout", "escaping"])?;
        fs::write(home.path().join("config/.env"), "OPENAI_API_KEY=a-secret\n")?;
        fs::set_permissions(home.path().join("config/.env"), PermissionsExt::from_mode(0o600))?;
        fs::write(home.path().join("victim"), "untouched\n")?;
        let daemon = home.start_ready(&["scout", "escaping"])?;
        let host = pid(&home, "escaping")?;
        Ok(Self { home, daemon, host })
    }

    fn path(&self, file: &str) -> String {
        self.home.path().join(file).display().to_string()
    }

    fn workspace(&self, file: &str) -> String {
        self.path(&format!("workspace/escaping/{file}"))
    }

    fn tries(&self, what: &str) -> Result<String> {
        reply(&self.home, "escaping", what)
    }

    /// It gets `answer`, and the log says that `violation` was refused.
    #[track_caller]
    fn refused(&self, what: &str, answer: &str, violation: &str) -> Result<()> {
        let got = self.tries(what)?;
        assert_eq!(got, answer, "`{what}`");
        let line = format!("refused: {violation}");
        wait_for(&format!("the line `{line}`"), || {
            Ok(self.violations()?.iter().any(|said| said.starts_with(&line)).then_some(()))
        })
        .with_context(|| format!("{:#?}", self.violations()))
    }

    fn violations(&self) -> Result<Vec<String>> {
        let out = self.home.ok(&["agents", "logs", "escaping", "-n", "1000", "--json"])?;
        let lines = out.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
        let of_sandbox = lines.iter().filter(|line| line["source"] == "sandbox");
        of_sandbox
            .map(|line| {
                ensure!(line["level"] == "warn", "{line}");
                Ok(line["text"].as_str().context("a text")?.to_owned())
            })
            .collect()
    }

    fn sandbox(&self) -> Result<Value> {
        Ok(self.home.component("escaping")?["sandbox"].clone())
    }

    /// The same host, and nothing changed outside its workspace.
    fn unharmed(&self) -> Result<()> {
        assert_eq!(self.tries("pair")?, "ok");
        let now = self.home.component("escaping")?;
        assert_eq!(
            (now["pid"].as_i64(), &now["restarts"]),
            (Some(self.host.into()), &Value::from(0)),
            "{now}"
        );
        let victim = self.home.path().join("victim");
        assert_eq!(fs::read_to_string(&victim)?, "untouched\n");
        assert_ne!(fs::metadata(&victim)?.permissions().mode() & 0o777, 0o777);
        assert!(fs::metadata(&victim)?.modified()?.elapsed()?.as_secs() < 3600);
        assert!(!self.home.path().join("escaped").exists());
        scout_answers(&self.home)
    }
}

#[test]
fn no_socket_is_opened() -> Result<()> {
    for mode in ["strict", "relaxed"] {
        let case = Case::new(mode)?;
        let control = case.path("run/openclaw.sock");
        for what in ["tcp", "udp", "unix", &format!("connect {control}")] {
            case.refused(what, REFUSED, "socket(2)")?;
        }
        case.unharmed()?;
    }
    Ok(())
}

#[test]
fn no_datagram_leaves() -> Result<()> {
    for mode in ["strict", "relaxed"] {
        let case = Case::new(mode)?;
        let outside = case.path("outside");
        let socket = UnixDatagram::bind(&outside)?;
        socket.set_nonblocking(true)?;
        case.refused(&format!("datagram {outside}"), REFUSED, "socketpair(2)")?;
        assert_eq!(socket.recv(&mut [0; 8]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock));
        case.unharmed()?;
    }
    Ok(())
}

#[test]
fn the_kernel_signals_nobody_for_it() -> Result<()> {
    for mode in ["strict", "relaxed"] {
        let case = Case::new(mode)?;
        let sibling = pid(&case.home, "scout")?;
        case.refused(&format!("owner {sibling}"), REFUSED, "fcntl(2)")?;
        assert_eq!(pid(&case.home, "scout")?, sibling);
        case.refused("shmget", REFUSED, "shmget(2)")?;
        case.refused("inotify", REFUSED, "inotify_init1(2)")?;
        case.unharmed()?;
    }
    Ok(())
}

#[test]
fn it_has_no_capabilities() -> Result<()> {
    for mode in ["strict", "relaxed"] {
        let case = Case::new(mode)?;
        let status = fs::read_to_string(format!("/proc/{}/status", case.host))?;
        let held: Vec<_> = status.lines().filter(|line| line.starts_with("Cap")).collect();
        // Of the bounding set only root can take anything.
        let root = nix::unistd::geteuid().is_root();
        let counts = |line: &&&str| root || !line.starts_with("CapBnd");
        assert!(held.len() >= 4, "{status}");
        assert!(held.iter().filter(counts).all(|line| line.ends_with("\t0000000000000000")), "{held:?}");
        case.unharmed()?;
    }
    Ok(())
}

#[test]
fn an_agent_whose_paths_never_end_delays_nobody_else() -> Result<()> {
    let case = Case::new("strict")?;
    let id = leave(&case.home, "escaping", "round")?;
    wait_for("a path too long to follow", || {
        let said = |line: &String| line == "refused or not: a path too long to follow";
        Ok(case.violations()?.iter().any(said).then_some(()))
    })?;
    for _ in 0..10 {
        assert_eq!(case.home.component("escaping")?["state"], "ready");
        scout_answers(&case.home)?;
    }
    assert_eq!(task(&case.home, &id)?["state"], "leased");
    fs::write(case.workspace("over"), "")?;
    assert_eq!(ended(&case.home, &id)?["state"], "done");
    // Once.
    assert_eq!(case.violations()?.len(), 1);
    case.unharmed()
}

#[test]
fn memory_that_it_shares_is_its_own() -> Result<()> {
    let config = quick("[agents.escaping]\nmemory_limit = \"64MiB\"\nping_interval = \"100ms\"\n");
    let home = Home::new(&config, &["escaping"])?;
    let _daemon = home.start_ready(&["escaping"])?;
    let sent = ask(&home, "escaping", "share 200")?;
    assert_eq!(sent["state"], "failed", "{sent}");
    let after = home.until("escaping", "ready")?;
    assert_eq!(after["last_exit"]["class"], "out_of_memory", "{after}");
    Ok(())
}

#[test]
fn no_program_is_run_and_no_process_made() -> Result<()> {
    for mode in ["strict", "relaxed"] {
        let case = Case::new(mode)?;
        case.refused("execve /bin/true", REFUSED, "execve(2) of /bin/true")?;
        case.refused("spawn /bin/true", REFUSED, "clone(2)")?;
        case.refused("fork", REFUSED, "clone(2)")?;
        case.refused("bomb", REFUSED, "clone(2)")?;
        assert_eq!(crate::support::group(case.host)?, [case.host]);
        case.unharmed()?;
    }
    Ok(())
}

#[test]
fn no_secret_is_read() -> Result<()> {
    let case = Case::new("strict")?;
    let daemon = case.daemon.pid();
    for file in [case.path("config/.env"), format!("/proc/{daemon}/environ"), format!("/proc/{daemon}/mem")] {
        case.refused(&format!("read {file}"), DENIED, &format!("opening {file}"))?;
    }
    case.refused("read /etc/shadow", DENIED, "opening /etc/shadow")?;
    case.refused("read /home", DENIED, "opening /home")?;
    // By another name, and by the folder that it stands in.
    let secret = case.path("config/.env");
    assert_eq!(case.tries(&format!("symlink {secret} {}", case.workspace("link")))?, "ok");
    let before = case.sandbox()?["violations"].as_u64();
    case.refused(&format!("read {}", case.workspace("link")), DENIED, &format!("opening {secret}"))?;
    case.refused("read link", DENIED, &format!("opening {secret}"))?;
    case.refused("read ../../config/.env", DENIED, &format!("opening {secret}"))?;
    case.refused(&format!("read /proc/self/root{secret}"), DENIED, &format!("opening {secret}"))?;
    assert_eq!(case.sandbox()?["violations"].as_u64(), before.map(|before| before + 4));
    case.refused(
        &format!("hardlink {secret} {}", case.workspace("hard")),
        "Invalid cross-device link (os error 18)",
        &format!("linking {secret}"),
    )?;
    // What is not there was not refused.
    let nothing = case.path("config/nothing");
    assert_eq!(case.tries(&format!("read {nothing}"))?, "No such file or directory (os error 2)");
    assert!(case.violations()?.iter().all(|line| !line.contains("nothing")));
    case.unharmed()
}

#[test]
fn nothing_is_changed_outside_the_workspace() -> Result<()> {
    let case = Case::new("strict")?;
    let (victim, escaped) = (case.path("victim"), case.path("escaped"));
    let inside = case.workspace("inside");
    assert_eq!(case.tries(&format!("write {inside}"))?, "ok");
    case.refused(&format!("write {victim}"), DENIED, &format!("writing {victim}"))?;
    case.refused(&format!("write {escaped}"), DENIED, &format!("writing {escaped}"))?;
    case.refused("write ../../escaped", DENIED, &format!("writing {escaped}"))?;
    case.refused(&format!("make {escaped}"), DENIED, &format!("making {escaped}"))?;
    case.refused(&format!("remove {victim}"), DENIED, &format!("removing {victim}"))?;
    case.refused(&format!("rename {inside} {escaped}"), DENIED, &format!("renaming to {escaped}"))?;
    case.refused(&format!("symlink {inside} {escaped}"), DENIED, &format!("making {escaped}"))?;
    case.unharmed()
}

#[test]
fn what_landlock_does_not_guard_is_refused() -> Result<()> {
    let case = Case::new("strict")?;
    let victim = case.path("victim");
    // By the library's call, which differs between machines.
    let chmod = if cfg!(target_arch = "x86_64") { "chmod(2)" } else { "fchmodat(2)" };
    case.refused(&format!("chmod {victim}"), REFUSED, chmod)?;
    case.refused(&format!("chown {victim}"), REFUSED, "chown(2)")?;
    // What it may read is not its own to change.
    let library = case.home.component("escaping")?["sha256"].as_str().context("a hash")?.to_owned();
    let library = case.path(&format!("libraries/{library}.so"));
    let mode = fs::metadata(&library)?.permissions().mode();
    case.refused(&format!("chmod {library}"), REFUSED, "fchmod(2)")?;
    case.refused(&format!("touch {library}"), REFUSED, "utimensat(2)")?;
    assert_eq!(fs::metadata(&library)?.permissions().mode(), mode);
    case.refused(&format!("mknod {}", case.workspace("disk")), REFUSED, "mknod")?;
    case.unharmed()
}

#[test]
fn the_workspace_is_its_own() -> Result<()> {
    let case = Case::new("strict")?;
    let [a, b, folder] = ["a", "b", "folder"].map(|name| case.workspace(name));
    for what in [
        format!("write {a}"),
        format!("copy {a} {b}"),
        format!("make {folder}"),
        format!("rename {a} {folder}/a"),
        format!("hardlink {b} {folder}/b"),
        format!("chmod {b}"),
        format!("remove {b}"),
        "write /dev/null".into(),
    ] {
        assert_eq!(case.tries(&what)?, "ok", "`{what}`");
    }
    assert_eq!(case.tries(&format!("read {folder}/b"))?, "ok escaped");
    assert_eq!(fs::metadata(Path::new(&folder).join("b"))?.permissions().mode() & 0o777, 0o777);
    for what in ["/proc/self/status", "/etc/ld.so.cache", "/sys/devices/system/cpu/online", "/dev/urandom"] {
        assert!(case.tries(&format!("read {what}"))?.starts_with("ok"), "`{what}`");
    }
    assert_eq!(case.violations()?, Vec::<String>::new());
    case.unharmed()
}

#[test]
fn no_other_process_is_reached() -> Result<()> {
    for mode in ["strict", "relaxed"] {
        let mut case = Case::new(mode)?;
        let (daemon, sibling) = (case.daemon.pid(), pid(&case.home, "scout")?);
        for other in [daemon, sibling] {
            case.refused(&format!("ptrace {other}"), REFUSED, "ptrace(2)")?;
            case.refused(&format!("peek {other}"), REFUSED, "process_vm_readv(2)")?;
            for signal in ["0", "15", "9"] {
                case.refused(&format!("signal {other} {signal}"), REFUSED, "kill(2)")?;
            }
        }
        case.refused("signal -1 0", REFUSED, "kill(2)")?;
        case.refused("group", REFUSED, "setpgid(2)")?;
        case.refused("limit", REFUSED, "prlimit64(2)")?;
        // Its own signals are its own.
        assert_eq!(case.tries(&format!("signal {} 0", case.host))?, "ok");
        assert!(case.daemon.ended()?.is_none());
        assert_eq!(pid(&case.home, "scout")?, sibling);
        case.unharmed()?;
    }
    Ok(())
}

#[test]
fn the_filter_itself_is_out_of_reach() -> Result<()> {
    let case = Case::new("strict")?;
    assert_eq!(case.tries("listener")?, "ok 0 found");
    case.refused("filter", REFUSED, "seccomp(2)")?;
    case.unharmed()?;
    // A call by another table ends the host, which is the one that made it.
    let sent = ask(&case.home, "escaping", "x32")?;
    if cfg!(target_arch = "x86_64") {
        assert_eq!(sent["state"], "failed", "{sent}");
        let after = case.home.until("escaping", "ready")?;
        assert_eq!(after["last_exit"]["detail"], "signal 31 (SIGSYS)", "{after}");
    }
    Ok(())
}

#[test]
fn threads_are_bounded_by_the_memory() -> Result<()> {
    let case = Case::new("strict")?;
    assert_eq!(case.tries("threads 50")?, "ok 50");
    let got = case.tries("threads 100000")?;
    assert_eq!(got, "Resource temporarily unavailable (os error 11)");
    case.unharmed()
}

#[test]
fn a_storm_of_violations_is_counted_and_not_all_told() -> Result<()> {
    let case = Case::new("strict")?;
    case.refused("bomb", REFUSED, "clone(2)")?;
    wait_for("what was not told to be counted", || {
        Ok(case.violations()?.iter().any(|line| line == "99 more refused").then_some(()))
    })?;
    assert_eq!(case.violations()?.len(), 2, "{:?}", case.violations()?);
    assert_eq!(case.sandbox()?["violations"], 100);
    case.unharmed()
}

#[test]
fn relaxed_has_the_daemons_files_and_off_has_all() -> Result<()> {
    for mode in ["relaxed", "off"] {
        let case = Case::new(mode)?;
        assert_eq!(case.tries(&format!("read {}", case.path("victim")))?, "ok untouched");
        assert_eq!(case.tries(&format!("write {}", case.path("escaped")))?, "ok");
        assert_eq!(case.tries(&format!("chmod {}", case.path("escaped")))?, "ok");
        let off = mode == "off";
        for what in ["tcp", "udp", "unix", "spawn /bin/true", "fork"] {
            assert_eq!(case.tries(what)?, if off { "ok" } else { REFUSED }, "`{what}` under {mode}");
        }
        assert_eq!(case.violations()?.is_empty(), off);
    }
    Ok(())
}

/// The kernel's version of Landlock; negative or 0 where it has none.
fn landlock() -> i64 {
    const VERSION: nix::libc::c_long = 1;
    // SAFETY: no memory is touched.
    unsafe {
        nix::libc::syscall(nix::libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION)
    }
}

#[test]
fn the_status_says_what_is_in_force() -> Result<()> {
    for (mode, in_force) in [
        ("strict", &["no_new_privs", "no capabilities", "landlock abi ", "seccomp", "violations logged"][..]),
        ("relaxed", &["no_new_privs", "no capabilities", "seccomp", "violations logged"]),
        ("off", &[]),
    ] {
        let case = Case::new(mode)?;
        let sandbox = case.sandbox()?;
        assert_eq!((&sandbox["mode"], &sandbox["violations"]), (&Value::from(mode), &Value::from(0)));
        let shown = case.home.ok(&["status"])?;
        assert_eq!(shown.contains(&format!("escaping: sandbox {mode}")), mode != "strict", "{shown}");
        let list = |key: &str| sandbox[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        // What this kernel has must hold; of the rest it must be said that it is not there.
        let (held, lacking): (Vec<_>, Vec<_>) = (list("in_force").collect(), list("lacking").collect());
        let has = |wanted: &&&str| !wanted.starts_with("landlock") || landlock() > 0;
        let wanted: Vec<_> = in_force.iter().filter(has).collect();
        assert_eq!(held.len(), wanted.len(), "{sandbox}");
        assert!(held.iter().zip(wanted).all(|(held, wanted)| held.starts_with(wanted)), "{sandbox}");
        assert_eq!(lacking.contains(&"landlock"), mode == "strict" && landlock() <= 0, "{sandbox}");
        // Six versions brought something that is asked for.
        assert_eq!(lacking.is_empty(), mode != "strict" || landlock() >= 6, "{sandbox}");
        assert_eq!(shown.contains("sandbox: not to be had here: "), !lacking.is_empty(), "{shown}");
        assert_eq!(case.home.component("scout")?["sandbox"]["mode"], "strict");
    }
    Ok(())
}

#[test]
fn a_workspace_behind_a_symbolic_link_is_the_workspace() -> Result<()> {
    let config = quick("[agents.escaping]\n");
    let home = Home::new(&config, &["escaping", "scout"])?;
    let elsewhere: PathBuf = home.path().join("agents/elsewhere");
    fs::create_dir(&elsewhere)?;
    std::os::unix::fs::symlink(&elsewhere, home.path().join("workspace"))?;
    // And a library that is a link to a release elsewhere.
    let library = home.path().join("agents/libescaping.so");
    let release = elsewhere.join("release.so");
    fs::rename(&library, &release)?;
    std::os::unix::fs::symlink(&release, &library)?;
    let _daemon = home.start_ready(&["escaping"])?;
    for file in ["workspace/escaping/x", "agents/elsewhere/escaping/y"] {
        let file = home.path().join(file);
        assert_eq!(reply(&home, "escaping", &format!("write {}", file.display()))?, "ok");
    }
    assert_eq!(home.component("escaping")?["sandbox"]["violations"], 0);
    Ok(())
}
