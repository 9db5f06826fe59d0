//! Stands between a daemon and the server, and cuts the line at the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// When the line is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The server never hears of the commit.
    Before,
    /// The commit is carried out, and its answer is lost.
    After,
}

/// What the proxy is to do next.
pub struct Line {
    pub cut: std::sync::Mutex<Option<Cut>>,
    /// New connections are closed at once.
    pub down: AtomicBool,
    /// A cut takes the line down.
    pub stays_down: AtomicBool,
}

pub struct Proxy {
    pub port: u16,
    pub line: Arc<Line>,
    _serving: JoinSet<()>,
}

impl Proxy {
    pub async fn new(socket: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let line = Arc::new(Line { cut: Default::default(), down: false.into(), stays_down: false.into() });
        let mut serving = JoinSet::new();
        let shared = line.clone();
        serving.spawn(async move {
            let mut lines = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if !shared.down.load(Ordering::SeqCst) {
                    lines.spawn(carry(client, socket.clone(), shared.clone()));
                }
            }
        });
        Self { port, line, _serving: serving }
    }
}

async fn carry(mut client: TcpStream, socket: String, line: Arc<Line>) {
    let Ok(mut server) = UnixStream::connect(socket).await else { return };
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(len @ 1..) = read else { return };
                let said = &from_client[..len];
                let commit = said.windows(7).any(|word| word == b"commit\0");
                let cut = if commit { line.cut.lock().unwrap().take() } else { None };
                if cut.is_some() && line.stays_down.load(Ordering::SeqCst) {
                    line.down.store(true, Ordering::SeqCst);
                }
                if cut == Some(Cut::Before) || server.write_all(said).await.is_err() {
                    return;
                }
                if cut == Some(Cut::After) {
                    let _ = server.read(&mut from_server).await;
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(len @ 1..) = read else { return };
                if client.write_all(&from_server[..len]).await.is_err() {
                    return;
                }
            }
        }
    }
}
