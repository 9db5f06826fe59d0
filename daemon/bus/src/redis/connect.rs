//! From an address to a connection that answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use ::redis::aio::{AsyncPushSender, MultiplexedConnection};
use ::redis::{AsyncConnectionConfig, FromRedisValue, Pipeline, Value, from_redis_value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::{Address, Options, tls};
use crate::Error;

/// From the first packet to the first answer; also over a slow line, with TLS.
const CONNECT: Duration = Duration::from_secs(3);
/// The longest that anybody waits for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(1);

/// What carries bytes.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection. Nothing moves on it unless `driver` is polled; it ends when the connection does.
pub(super) struct Opened {
    pub connection: MultiplexedConnection,
    pub driver: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The server's version.
    pub version: String,
}

/// Connects, logs in, and sees that the server is of use.
pub(super) async fn open<P: AsyncPushSender>(
    options: &Options,
    name: &str,
    push: Option<P>,
) -> Result<Opened, Error> {
    // Outside the bound: whoever gave up waiting would leave its thread behind, and begin another.
    let places = match &options.address {
        Address::Tcp { host, port, .. } => {
            lookup_host((host.as_str(), *port)).await.map_err(|error| options.away(error))?.collect()
        }
        Address::Unix(_) => Vec::new(),
    };
    timeout(CONNECT, async {
        let stream = reach(options, &places).await?;
        // The bound on an answer is ours, so that a connection which breaks it is given up.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let config = match push {
            Some(push) => config.set_push_sender(push),
            None => config,
        };
        let opened = MultiplexedConnection::new_with_config(&options.log_in(), stream, config).await;
        let (mut connection, driver) = opened.map_err(|error| options.explain(&error))?;
        let mut driver: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(driver);
        let version = tokio::select! {
            greeted = greet(options, &mut connection, name) => greeted?,
            () = &mut driver => return Err(options.away("it closed the connection")),
        };
        Ok(Opened { connection, driver, version })
    })
    .await
    .unwrap_or_else(|_| Err(options.silent(CONNECT)))
}

async fn reach(options: &Options, places: &[SocketAddr]) -> Result<Box<dyn Stream>, Error> {
    match &options.address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| options.away(error))?;
            Ok(Box::new(stream))
        }
        Address::Tcp { host, tls, .. } => {
            let tcp = TcpStream::connect(places).await.map_err(|error| options.away(error))?;
            tcp.set_nodelay(true).map_err(|error| options.away(error))?;
            if !tls {
                return Ok(Box::new(tcp));
            }
            let agreed = tls::agree(tcp, host, options.ca.as_deref()).await;
            let failed = |why: String| Error::Tls { server: options.server(), why: options.clean(&why) };
            Ok(Box::new(agreed.map_err(failed)?))
        }
    }
}

/// Gives itself a name in `CLIENT LIST`, and learns the server's version.
async fn greet(
    options: &Options,
    connection: &mut MultiplexedConnection,
    name: &str,
) -> Result<String, Error> {
    let mut hello = Pipeline::new();
    hello.cmd("HELLO").arg(3).arg("SETNAME").arg(format!("openclaw:{name}"));
    // Unlike HELLO, PING is refused while the server reads its data.
    hello.cmd("PING").ignore();
    let (told,): (HashMap<String, Value>,) = ask(options, connection, &hello).await?;
    let text = |key| told.get(key).and_then(|value| from_redis_value::<String>(value.clone()).ok());
    if text("mode").as_deref() == Some("cluster") {
        return Err(Error::Cluster { server: options.server() });
    }
    if text("role").is_some_and(|role| role != "master") {
        return Err(Error::Replica { server: options.server() });
    }
    Ok(options.clean(&text("version").unwrap_or_default()))
}

/// One request, answered within the bound.
pub(super) async fn ask<T: FromRedisValue + Send>(
    options: &Options,
    connection: &mut MultiplexedConnection,
    request: &Pipeline,
) -> Result<T, Error> {
    match timeout(ANSWER, request.query_async(connection)).await {
        Ok(answer) => answer.map_err(|error| options.explain(&error)),
        Err(_) => Err(options.silent(ANSWER)),
    }
}

/// Asks from time to time, so that a line that is dead is known, until it does not answer.
pub(super) async fn keep_asking(
    options: &Options,
    mut connection: MultiplexedConnection,
    answered: impl Fn(),
) -> Error {
    /// A cut cable is noticed within this and [`ANSWER`]: below the shortest heartbeat that anybody uses.
    const PAUSE: Duration = Duration::from_secs(5);
    let mut ping = Pipeline::new();
    ping.cmd("PING").ignore();
    loop {
        tokio::time::sleep(PAUSE).await;
        match ask::<()>(options, &mut connection, &ping).await {
            Ok(()) => answered(),
            Err(error) => return error,
        }
    }
}
