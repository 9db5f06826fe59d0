//! A provider on this machine, which answers as it is told to: well, badly, slowly, never.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use crate::PATIENCE;

/// A key that is to be seen nowhere.
pub const KEY: &str = "sk-canary-provider_key_0123456789";

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    /// With this status, these headers (each with its line's end), and this body.
    Status(u16, String, String),
    /// With these bytes, and the connection is closed.
    Raw(Vec<u8>),
    /// With a byte of a good answer at a time, this long apart.
    Drip(Duration),
    /// Never; the connection stays open.
    Never,
    /// Well, once this has passed.
    After(Duration),
}

impl Reply {
    /// A status, and a body as OpenAI's errors have it.
    pub fn refused(code: u16) -> Self {
        let body = json!({"error": {"message": format!("no: {KEY}"), "code": code}});
        Self::Status(code, String::new(), body.to_string())
    }

    /// 429.
    pub fn too_many(retry_after: Option<&str>) -> Self {
        let header = retry_after.map(|wait| format!("Retry-After: {wait}\r\n")).unwrap_or_default();
        Self::Status(429, header, "{}".into())
    }

    /// 200 with this body.
    pub fn body(text: impl Into<String>) -> Self {
        Self::Status(200, String::new(), text.into())
    }

    /// A good answer of a language model: this text.
    pub fn says(text: &str) -> Self {
        Self::body(completion(&Value::Null, text))
    }

    /// A redirect.
    pub fn to(address: &str) -> Self {
        Self::Status(302, format!("Location: {address}\r\n"), String::new())
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method and path.
    pub line: String,
    /// The headers as they came.
    pub head: String,
    /// The body, null where it was none.
    pub body: Value,
}

#[derive(Default)]
struct State {
    /// For the next requests, then for all further ones.
    replies: VecDeque<Reply>,
    always: Option<Reply>,
    asked: Vec<Asked>,
    ended: bool,
}

/// The server; it ends when dropped.
pub struct Provider {
    /// Where it is.
    pub address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Provider {
    /// Starts one that answers well.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::new((Mutex::new(State::default()), Condvar::new()));
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if lock(&shared).ended {
                    return;
                }
                let shared = shared.clone();
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Ok(Self { address, state })
    }

    /// Where it is, as `base_url` has it.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// `providers/NAME.toml` for it.
    pub fn described(&self, more: &str) -> String {
        format!(
            "base_url = '{}'\nkey = 'TEST_API_KEY'\nmodels = [{{ name = 'm', input = 1.0, output = 2.0 }}]\n{more}\n",
            self.url()
        )
    }

    /// The next requests are answered so.
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.state).replies.extend(replies);
    }

    /// All requests for which there is nothing else are answered so.
    pub fn always(&self, reply: Option<Reply>) {
        lock(&self.state).always = reply;
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        lock(&self.state).ended = true;
        self.state.1.notify_all();
        // The listener's thread looks at it with the next connection.
        let _ = TcpStream::connect(self.address);
    }
}

type Shared = Arc<(Mutex<State>, Condvar)>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits, but for no longer than the server lives.
fn wait(state: &Shared, within: Duration) {
    let held = lock(state);
    let _ = state.1.wait_timeout_while(held, within, |state| !state.ended);
}

fn serve(stream: TcpStream, state: &Shared) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    stream.set_nodelay(true)?;
    loop {
        let Some(asked) = read(&mut reader)? else { return Ok(()) };
        let good = good(&asked);
        let refuses = asked.line.ends_with("/models") && !asked.head.contains(KEY);
        let reply = {
            let mut state = lock(state);
            state.asked.push(asked);
            let scripted = state.replies.pop_front().or_else(|| state.always.clone());
            scripted.or_else(|| refuses.then(|| Reply::refused(401)))
        };
        match reply {
            None => stream.write_all(&http(200, "", &good))?,
            Some(Reply::Status(code, headers, body)) => stream.write_all(&http(code, &headers, &body))?,
            Some(Reply::Raw(bytes)) => {
                stream.write_all(&bytes)?;
                return Ok(());
            }
            Some(Reply::Drip(apart)) => {
                for byte in http(200, "", &good) {
                    stream.write_all(&[byte])?;
                    wait(state, apart);
                }
            }
            Some(Reply::Never) => {
                wait(state, PATIENCE);
                return Ok(());
            }
            Some(Reply::After(pause)) => {
                wait(state, pause);
                stream.write_all(&http(200, "", &good))?;
            }
        }
    }
}

fn http(code: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {code} Said\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The answer that was wanted.
fn good(asked: &Asked) -> String {
    let hit = json!({"title": "A title", "url": "https://example.org/a", "description": "found <strong>it</strong>", "snippet": "found it"});
    if asked.line.contains("/web/search") {
        return json!({"type": "search", "web": {"results": [hit]}}).to_string();
    }
    if asked.line.ends_with("/models") {
        return json!({"object": "list", "data": [{"id": "m"}]}).to_string();
    }
    if asked.line.ends_with("/search") {
        return json!({"results": [hit]}).to_string();
    }
    let said = asked.body["messages"].as_array().and_then(|turns| turns.last()?["content"].as_str());
    completion(&asked.body["model"], &format!("you said: {}", said.unwrap_or_default()))
}

fn completion(model: &Value, text: &str) -> String {
    json!({
        "id": "1", "object": "chat.completion", "model": model,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
    })
    .to_string()
}

fn read(reader: &mut BufReader<TcpStream>) -> Result<Option<Asked>> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let line = head.lines().next().unwrap_or_default();
    let line = line.rsplit_once(' ').map_or(line, |(line, _)| line).to_owned();
    Ok(Some(Asked { line, head, body: serde_json::from_slice(&body).unwrap_or_default() }))
}
