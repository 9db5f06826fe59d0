//! A Redis of a test's own.

use std::process::{Child, Command, Stdio};

use anyhow::{Result, ensure};

/// A Redis; ended when dropped.
pub struct Redis(Child);

impl Redis {
    /// One on that port of the loopback.
    pub fn start(port: u16) -> Result<Option<Self>> {
        let port = port.to_string();
        let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"];
        let child =
            Command::new("redis-server").args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        match child {
            Ok(child) => Ok(Some(Self(child))),
            Err(error) => {
                let ci = std::env::var("CI").as_deref() == Ok("true");
                ensure!(!ci, "redis-server is not installed: {error}");
                eprintln!("skipped: redis-server is not installed (apt-get install redis-server)");
                Ok(None)
            }
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
