//! The line of commands: one connection that all callers share, and how it is kept.

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{FromRedisValue, Pipeline};
use tokio::time::Instant;

use super::Shared;
use super::connect::{self, Opened};
use super::pause::Pause;
use super::record::Line;
use crate::Error;

/// A connection, told from those before and after it.
#[derive(Clone)]
pub(super) struct Connection {
    redis: MultiplexedConnection,
    number: u64,
}

/// Keeps a connection for commands, for ever.
pub(super) async fn run(shared: &Shared) {
    const NO_PUSH: Option<fn(::redis::PushInfo) -> Result<(), ()>> = None;
    let mut pause = Pause::default();
    for number in 0.. {
        let opened = open(shared, Line::Commands, NO_PUSH).await;
        let began = Instant::now();
        let error = match opened {
            Ok(opened) => hold(shared, opened, number).await,
            Err(error) => error,
        };
        shared.record.down(Line::Commands, error.clone());
        let _ = shared.commands.send_replace(Err(error));
        tokio::time::sleep(pause.after(began.elapsed(), fastrand::f64())).await;
    }
}

/// Connects, and says so.
pub(super) async fn open<P: AsyncPushSender>(
    shared: &Shared,
    line: Line,
    push: Option<P>,
) -> Result<Opened, Error> {
    connect::open(&shared.options, line.name(), push).await
}

/// Lets all use the connection until it ends; tells why it did.
async fn hold(shared: &Shared, opened: Opened, number: u64) -> Error {
    let Opened { connection, driver, version } = opened;
    shared.record.up(Line::Commands, &version);
    let _ = shared.commands.send_replace(Ok(Connection { redis: connection.clone(), number }));
    let mut current = shared.commands.subscribe();
    tokio::select! {
        () = driver => shared.options.away("it closed the connection"),
        error = connect::keep_asking(&shared.options, connection, || shared.record.answered()) => error,
        given_up = current.wait_for(Result::is_err) => match given_up.map(|given_up| given_up.clone()) {
            Ok(Err(error)) => error,
            _ => Error::Closed,
        },
    }
}

impl Shared {
    /// One request over the line of commands. While there is none it fails at once.
    pub(super) async fn ask<T: FromRedisValue + Send>(&self, request: &Pipeline) -> Result<T, Error> {
        let Connection { mut redis, number } = self.commands.borrow().clone()?;
        let answer = connect::ask(&self.options, &mut redis, request).await;
        match &answer {
            Err(error) if ends(error) => self.give_up(number, error),
            // A refusal is an answer too.
            _ => self.record.answered(),
        }
        answer
    }

    /// Others would wait in vain as well: they are told at once, until there is a new connection.
    fn give_up(&self, number: u64, error: &Error) {
        self.commands.send_if_modified(|current| {
            let is_it = current.as_ref().is_ok_and(|current| current.number == number);
            if is_it {
                *current = Err(error.clone());
            }
            is_it
        });
    }
}

/// Whether a new connection may find another server, or one in another state.
fn ends(error: &Error) -> bool {
    matches!(
        error,
        Error::Away { .. }
            | Error::Silent { .. }
            | Error::Replica { .. }
            | Error::Cluster { .. }
            | Error::Loading { .. }
            | Error::LogIn { .. }
    )
}
