//! Two servers of Telegram's Bot API: a scripted one that fails as it is told to, and somebody else's emulator of the real one.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::wait_for;

/// A token that is to be seen nowhere.
pub const TOKEN: &str = "123456789:AAcanary-Telegram_token_0123456789";
/// Whose messages are let in by default.
pub const ANN: i64 = 4711;

/// How a call fails.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered with this, without being carried out.
    Status(u16, Value),
    /// It is not carried out, and the connection is cut.
    Cut,
    /// It is carried out, and the connection is cut before anybody is told.
    CutAfter,
    /// It is carried out and answered, after this.
    Slow(Duration),
    /// All that was ever said is delivered again.
    Again,
}

impl Fault {
    /// An answer of the API that says no.
    pub fn refused(code: u16, description: &str) -> Self {
        Self::Status(code, json!({"ok": false, "error_code": code, "description": description}))
    }

    /// 429.
    pub fn too_many(seconds: u64) -> Self {
        let body = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry later",
            "parameters": {"retry_after": seconds}});
        Self::Status(429, body)
    }
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Call {
    /// What was called.
    pub method: String,
    /// With what.
    pub body: Value,
    /// When.
    pub at: Instant,
}

static NEXT: AtomicI64 = AtomicI64::new(1);

#[derive(Default)]
struct State {
    updates: Vec<Value>,
    confirmed: i64,
    sent: Vec<Value>,
    calls: Vec<Call>,
    faults: HashMap<String, VecDeque<Fault>>,
    files: HashMap<String, Vec<u8>>,
    moved: HashMap<i64, i64>,
    poisons: Vec<(String, Fault)>,
    ended: bool,
}

/// The scripted server; it ends when dropped.
pub struct Bot {
    /// Where it is.
    pub address: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Bot {
    /// Starts one.
    pub fn start() -> Result<Self> {
        Self::at("127.0.0.1:0")
    }

    /// Starts one there.
    pub fn at(address: &str) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
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

    /// Where it is, as `[telegram] api` has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ann says something to the bot.
    pub fn say(&self, text: &str) -> i64 {
        self.say_as(ANN, text)
    }

    /// Somebody says something to the bot, in a chat of their own.
    pub fn say_as(&self, id: i64, text: &str) -> i64 {
        self.push(json!({"from": {"id": id, "first_name": format!("user{id}")}, "chat": {"id": id, "type": "private"}, "text": text}))
    }

    /// A message comes.
    pub fn push(&self, mut message: Value) -> i64 {
        let mut state = lock(&self.state);
        // A server that takes another's place goes on counting.
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        message["message_id"] = id.into();
        state.updates.push(json!({"update_id": id, "message": message}));
        self.state.1.notify_all();
        id
    }

    /// Somebody says something to the bot in a group.
    pub fn say_in(&self, group: i64, text: &str) -> i64 {
        let chat = json!({"id": group, "type": "supergroup"});
        self.push(json!({"from": {"id": ANN, "first_name": "Ann"}, "chat": chat, "text": format!("@OpenBot {text}")}))
    }

    /// A group became a supergroup: nothing can be sent to the old one, and who tries is told.
    pub fn migrate(&self, from: i64, to: i64) {
        lock(&self.state).moved.insert(from, to);
    }

    /// A file that can be fetched.
    pub fn file(&self, id: &str, content: &[u8]) {
        lock(&self.state).files.insert(id.into(), content.into());
    }

    /// The next calls of a method fail so, one after the other.
    pub fn fail(&self, method: &str, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.state).faults.entry(method.into()).or_default().extend(faults);
        self.state.1.notify_all();
    }

    /// The calls of a method fail no more.
    pub fn forgive(&self, method: &str) {
        lock(&self.state).faults.remove(method);
    }

    /// Every message with these words fails so.
    pub fn poison(&self, words: &str, fault: Fault) {
        lock(&self.state).poisons.push((words.into(), fault));
    }

    /// No message fails for its words any more.
    pub fn cure(&self) {
        lock(&self.state).poisons.clear();
    }

    /// What was sent, in order.
    pub fn sent(&self) -> Vec<Value> {
        lock(&self.state).sent.clone()
    }

    /// The texts that were sent, in order.
    pub fn texts(&self) -> Vec<String> {
        self.sent().iter().map(|sent| sent["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// The calls of a method.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        lock(&self.state).calls.iter().filter(|call| call.method == method).cloned().collect()
    }

    /// Waits until so many messages were sent.
    pub fn until_sent(&self, many: usize) -> Result<Vec<Value>> {
        let mut last = 0;
        wait_for(&format!("{many} messages"), || {
            let sent = self.sent();
            last = sent.len();
            Ok((last >= many).then_some(sent))
        })
        .with_context(|| format!("{last} were sent: {:?}", self.texts()))
    }

    /// Waits until the offset has moved beyond that update.
    pub fn until_confirmed(&self, update: i64) -> Result<()> {
        wait_for("the offset to move", || Ok((lock(&self.state).confirmed > update).then_some(())))
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        lock(&self.state).ended = true;
        self.state.1.notify_all();
        let _ = TcpStream::connect(self.address);
    }
}

type Shared = Arc<(Mutex<State>, Condvar)>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, shared: &Shared) -> Result<()> {
    let (mut out, mut input) = (stream.try_clone()?, BufReader::new(stream));
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).context("a path")?.to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            input.read_line(&mut header)?;
            let header = header.trim().to_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body)?;
        let Some((status, answer)) = answer(shared, &path, &body)? else { return Ok(()) };
        let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
        out.write_all(head.as_bytes())?;
        out.write_all(&answer)?;
    }
}

/// What is answered; none: the connection is cut.
fn answer(shared: &Shared, path: &str, body: &[u8]) -> Result<Option<(u16, Vec<u8>)>> {
    let bytes = |value: &Value| value.to_string().into_bytes();
    if let Some(file) = path.strip_prefix(&format!("/file/bot{TOKEN}/")) {
        let found = lock(shared).files.get(file.trim_start_matches("files/")).cloned();
        return Ok(Some(found.map_or((404, Vec::new()), |content| (200, content))));
    }
    let Some(method) = path.strip_prefix(&format!("/bot{TOKEN}/")) else {
        return Ok(Some((
            401,
            bytes(&json!({"ok": false, "error_code": 401, "description": "Unauthorized"})),
        )));
    };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let fault = {
        let mut state = lock(shared);
        state.calls.push(Call { method: method.into(), body: body.clone(), at: Instant::now() });
        let scripted = state.faults.get_mut(method).and_then(VecDeque::pop_front);
        let text = body["text"].as_str().unwrap_or_default();
        let poison = |(words, _): &&(String, Fault)| text.contains(words.as_str());
        scripted.or_else(|| state.poisons.iter().find(poison).map(|(_, fault)| fault.clone()))
    };
    let moved = body["chat_id"].as_i64().and_then(|chat| lock(shared).moved.get(&chat).copied());
    if let Some(to) = moved {
        let no = json!({"ok": false, "error_code": 400, "parameters": {"migrate_to_chat_id": to},
            "description": "Bad Request: group chat was upgraded to a supergroup chat"});
        return Ok(Some((400, bytes(&no))));
    }
    let again = matches!(fault, Some(Fault::Again));
    match &fault {
        Some(Fault::Status(status, answer)) => return Ok(Some((*status, bytes(answer)))),
        Some(Fault::Cut) => return Ok(None),
        #[allow(clippy::disallowed_methods, reason = "the server is told to be slow")]
        Some(Fault::Slow(pause)) => thread::sleep(*pause),
        _ => {}
    }
    let result = match method {
        "getMe" => json!({"id": 666, "is_bot": true, "first_name": "Open", "username": "OpenBot"}),
        "getUpdates" => updates(shared, &body, again),
        "sendMessage" => {
            let mut state = lock(shared);
            state.sent.push(body.clone());
            json!({"message_id": 1000 + state.sent.len(), "chat": {"id": body["chat_id"]}})
        }
        "getFile" => {
            let id = body["file_id"].as_str().unwrap_or_default();
            let size = lock(shared).files.get(id).map(Vec::len);
            match size {
                Some(size) => json!({"file_id": id, "file_size": size, "file_path": format!("files/{id}")}),
                None => {
                    let no = json!({"ok": false, "error_code": 400, "description": "Bad Request: invalid file_id"});
                    return Ok(Some((400, bytes(&no))));
                }
            }
        }
        "getWebhookInfo" => json!({"url": "https://example.org", "pending_update_count": 0}),
        _ => json!(true),
    };
    if matches!(fault, Some(Fault::CutAfter)) {
        return Ok(None);
    }
    Ok(Some((200, bytes(&json!({"ok": true, "result": result})))))
}

/// Waits for updates as Telegram does, and forgets those that the offset confirms.
fn updates(shared: &Shared, body: &Value, again: bool) -> Value {
    let offset = body["offset"].as_i64().unwrap_or_default();
    let timeout = Duration::from_secs(body["timeout"].as_u64().unwrap_or_default());
    let deadline = Instant::now() + timeout;
    let mut state = lock(shared);
    state.confirmed = state.confirmed.max(offset);
    loop {
        let new = |update: &&Value| again || update["update_id"].as_i64() >= Some(offset);
        let found: Vec<Value> = state.updates.iter().filter(new).take(100).cloned().collect();
        let faulty = state.faults.get("getUpdates").is_some_and(|faults| !faults.is_empty());
        let left = deadline.saturating_duration_since(Instant::now());
        if !found.is_empty() || left.is_zero() || state.ended || faulty {
            return found.into();
        }
        state = shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// npm's `telegram-test-api`; it ends when dropped.
pub struct Emulator {
    /// Where it is.
    pub url: String,
    child: Child,
    agent: ureq::Agent,
}

impl Emulator {
    /// Starts one; none where there is no npm, which is said.
    pub fn start() -> Result<Option<Self>> {
        let Some(folder) = installed()? else { return Ok(None) };
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let script = format!(
            "const Server = require('telegram-test-api');\
             new (Server.TelegramServer || Server.default || Server)({{port: {port}, host: '127.0.0.1', storeTimeout: 600}}).start();\
             process.stdin.on('end', () => process.exit(0)).resume();"
        );
        // It ends with its standard input, and so with this program, however that ends.
        let child = Command::new("node")
            .args(["-e", &script])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(crate::PATIENCE)).build().into();
        let emulator = Self { url: format!("http://127.0.0.1:{port}"), child, agent };
        wait_for("the emulator", || Ok(TcpStream::connect(("127.0.0.1", port)).ok()))?;
        Ok(Some(emulator))
    }

    /// Somebody says something to the bot.
    pub fn say(&self, id: i64, text: &str) -> Result<()> {
        let message = json!({
            "botToken": TOKEN, "date": 0, "text": text,
            "from": {"id": id, "first_name": "Ann", "is_bot": false},
            "chat": {"id": id, "type": "private", "first_name": "Ann"},
        });
        self.post("sendMessage", &message).map(drop)
    }

    /// What the bot said since the last look.
    pub fn heard(&self, id: i64) -> Result<Vec<String>> {
        let answer = self.post("getUpdates", &json!({"token": TOKEN, "chatId": id}))?;
        let messages = answer["result"].as_array().context("a list")?;
        Ok(messages
            .iter()
            .map(|one| one["message"]["text"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = ureq::http::Request::post(format!("{}/{path}", self.url));
        let request = request.header("content-type", "application/json").body(body.to_string())?;
        let mut response = self.agent.run(request)?;
        let text = response.body_mut().read_to_string()?;
        ensure!(response.status().is_success(), "{path}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where it is installed: `scripts/emulator` does that.
fn installed() -> Result<Option<PathBuf>> {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/emulator")).output()?;
    if output.status.success() {
        return Ok(Some(String::from_utf8(output.stdout)?.trim().into()));
    }
    if std::env::var("CI").as_deref() == Ok("true") {
        bail!("scripts/emulator: {}", String::from_utf8_lossy(&output.stderr));
    }
    eprintln!("skipped: there is no telegram-test-api (apt-get install npm)");
    Ok(None)
}
