//! What an operating system asks of a daemon: units, what is said to systemd, the watchdog chain, `openclaw install`.

pub mod failed;
pub mod install;
pub mod notify;
pub mod sockets;
pub mod spool;
pub mod units;
pub mod watchdog;
