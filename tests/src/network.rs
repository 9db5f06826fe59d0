//! Machines of a test's own: network namespaces on one bridge, which live as long as the test.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use nix::unistd::Uid;

/// Some machines that reach each other; the first one is `.1`.
pub struct Network {
    name: String,
    machines: usize,
}

impl Network {
    /// So many machines; none where this may not make any, which is said.
    pub fn new(machines: usize) -> Result<Option<Self>> {
        if !Uid::effective().is_root() || Command::new("ip").arg("-V").stdout(Stdio::null()).status().is_err()
        {
            let ci = std::env::var("CI").as_deref() == Ok("true");
            ensure!(!ci, "network namespaces need root and iproute2");
            eprintln!("skipped: network namespaces need root and iproute2 (apt-get install iproute2)");
            return Ok(None);
        }
        let network = Self { name: format!("oc{}", std::process::id()), machines };
        let hub = network.machine(1);
        for number in 1..=machines {
            ip(&["netns", "add", &network.machine(number)])?;
            ip(&["-n", &network.machine(number), "link", "set", "lo", "up"])?;
        }
        ip(&["-n", &hub, "link", "add", "hub", "type", "bridge"])?;
        ip(&["-n", &hub, "addr", "add", &format!("{}/24", network.address(1)), "dev", "hub"])?;
        ip(&["-n", &hub, "link", "set", "hub", "up"])?;
        for number in 2..=machines {
            let (machine, end) = (network.machine(number), format!("to{number}"));
            ip(&[
                "-n", &machine, "link", "add", "eth0", "type", "veth", "peer", "name", &end, "netns", &hub,
            ])?;
            ip(&["-n", &machine, "addr", "add", &format!("{}/24", network.address(number)), "dev", "eth0"])?;
            ip(&["-n", &machine, "link", "set", "eth0", "up"])?;
            ip(&["-n", &hub, "link", "set", &end, "master", "hub", "up"])?;
        }
        Ok(Some(network))
    }

    /// A machine's address.
    pub fn address(&self, number: usize) -> String {
        format!("10.77.0.{number}")
    }

    /// What has a program run there; its process is that program's.
    pub fn on(&self, number: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.machine(number)]);
        command
    }

    /// Cuts a machine off, or not any more. The first one cannot be.
    pub fn cut(&self, number: usize, off: bool) -> Result<()> {
        ip(&["-n", &self.machine(1), "link", "set", &format!("to{number}"), if off { "down" } else { "up" }])
    }

    /// Has a machine's segments to the first one go to another one of the same address, or not any more. Nobody listens there, so
    /// that it answers each with a reset: those of open connections too.
    pub fn mislead(&self, number: usize, by: usize, on: bool) -> Result<()> {
        let (machine, impostor, first) = (self.machine(number), self.machine(by), self.address(1));
        let what = if on { "add" } else { "del" };
        if on {
            // On its own wire it does not say that the address is there: the others go on to the first.
            let quiet = "net.ipv4.conf.all.arp_ignore=1";
            run(self.on(by).args(["sysctl", "-q", "-w", quiet]))?;
            ip(&["-n", &impostor, "addr", "add", &format!("{first}/32"), "dev", "lo"])?;
        }
        ip(&["-n", &machine, "route", what, &format!("{first}/32"), "via", &self.address(by)])?;
        if !on {
            ip(&["-n", &impostor, "addr", "del", &format!("{first}/32"), "dev", "lo"])?;
        }
        Ok(())
    }

    fn machine(&self, number: usize) -> String {
        format!("{}-{number}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for number in 1..=self.machines {
            let _ = ip(&["netns", "del", &self.machine(number)]);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
