//! A test agent that tries to get out of its sandbox, as its message says; it replies `ok`, with what it got, or the
//! error.
//!
//! | text | what it tries |
//! |---|---|
//! | `tcp`, `udp`, `unix` | a socket of that kind |
//! | `pair` | a pair of sockets within the process |
//! | `datagram PATH` | sends to a Unix socket by one of a pair |
//! | `owner PID` | has the kernel kill another process: a socket's owner gets a signal for what arrives |
//! | `shmget`, `inotify` | memory of System V; hears of others' files |
//! | `share N` | N MiB of memory that is shared, and so not its own; stays until it is ended |
//! | `round` | opens paths through links that lead back, until there is a file `over` in its workspace |
//! | `connect PATH` | connects to a Unix socket |
//! | `spawn PROGRAM` | runs it as std does |
//! | `execve PROGRAM` | becomes it |
//! | `fork`, `bomb` | another process; a hundred of them, each of which ends at once |
//! | `threads N` | N threads at once; replies how many there were |
//! | `read PATH` | a file's first line |
//! | `write PATH` | a file with `escaped` in it |
//! | `copy FROM TO` | a file |
//! | `make PATH`, `remove PATH` | a folder; a file |
//! | `rename FROM TO`, `hardlink FROM TO` | another name |
//! | `symlink TARGET PATH` | a symbolic link |
//! | `chmod PATH`, `chown PATH`, `touch PATH` | 0777; this user; the time |
//! | `mknod PATH` | a node of the first disk |
//! | `ptrace PID`, `peek PID`, `signal PID N` | another process |
//! | `group` | leaves its process group |
//! | `limit` | raises the number of its descriptors |
//! | `x32` | a call by x86-64's second table |
//! | `listener` | answers the filter itself: looks for its listener among all descriptors |
//! | `filter` | a filter of its own, with a listener |

mod calls;
mod files;

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

use openclaw_agent_api::prelude::*;

/// The agent.
pub struct Escaping;

impl Agent for Escaping {
    fn describe() -> Manifest {
        Manifest::new("Tries to get out of its sandbox.")
    }

    fn create(_settings: Value) -> Result<Self> {
        Ok(Self)
    }

    fn handle(&self, _ctx: &Context, message: &Message) -> Result<Reply> {
        let words: Vec<&str> = message.text.split_whitespace().collect();
        let done = tried(&words)?;
        Ok(Reply::text(match done {
            Ok(got) => format!("ok {got}").trim_end().to_owned(),
            Err(error) => error.to_string(),
        }))
    }
}

type Done = std::io::Result<String>;

fn tried(words: &[&str]) -> Result<Done> {
    let nothing = |()| String::new();
    Ok(match *words {
        ["tcp"] => TcpListener::bind("127.0.0.1:0").map(|_| String::new()),
        ["udp"] => UdpSocket::bind("127.0.0.1:0").map(|_| String::new()),
        ["unix"] => UnixDatagram::unbound().map(|_| String::new()),
        ["pair"] => UnixStream::pair().map(|_| String::new()),
        ["datagram", path] => {
            UnixDatagram::pair().and_then(|(one, _)| one.send_to(b"escaped", path)).map(|_| String::new())
        }
        ["owner", pid] => calls::owner(number(pid)?).map(nothing),
        ["shmget"] => calls::shmget().map(nothing),
        ["inotify"] => calls::inotify().map(nothing),
        ["share", many] => calls::share(number(many)?).map(nothing),
        ["round"] => files::round().map(nothing),
        ["connect", path] => UnixStream::connect(path).map(|_| String::new()),
        ["spawn", program] => {
            Command::new(program).spawn().and_then(|mut child| child.wait()).map(|_| String::new())
        }
        ["execve", program] => calls::execve(program).map(nothing),
        ["fork"] => calls::fork().map(nothing),
        ["bomb"] => calls::bomb(100).map(nothing),
        ["threads", many] => calls::threads(number(many)?),
        ["read", path] => files::read(path),
        ["write", path] => std::fs::write(path, "escaped").map(nothing),
        ["copy", from, to] => std::fs::copy(from, to).map(|_| String::new()),
        ["make", path] => std::fs::create_dir(path).map(nothing),
        ["remove", path] => std::fs::remove_file(path).map(nothing),
        ["rename", from, to] => std::fs::rename(from, to).map(nothing),
        ["hardlink", from, to] => std::fs::hard_link(from, to).map(nothing),
        ["symlink", target, path] => std::os::unix::fs::symlink(target, path).map(nothing),
        ["chmod", path] => files::chmod(path).map(nothing),
        ["chown", path] => std::os::unix::fs::chown(path, None, None).map(nothing),
        ["touch", path] => files::touch(path).map(nothing),
        ["mknod", path] => calls::mknod(path).map(nothing),
        ["ptrace", pid] => calls::ptrace(number(pid)?).map(nothing),
        ["peek", pid] => calls::peek(number(pid)?).map(nothing),
        ["signal", pid, signal] => calls::signal(number(pid)?, number(signal)?).map(nothing),
        ["group"] => calls::leave_group().map(nothing),
        ["limit"] => calls::raise_limit().map(nothing),
        ["x32"] => calls::x32().map(nothing),
        ["listener"] => calls::steal_listener(),
        ["filter"] => calls::filter().map(nothing),
        _ => return Err(AgentError::invalid(format!("`{}` is nothing this agent can do", words.join(" ")))),
    })
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| AgentError::invalid(format!("`{text}` is no number that fits")))
}

export_agent!(Escaping);
