//! Telegram delivers: HTTP on a port of its own, behind whatever leads from the outside to it. Only who shows the secret that
//! was agreed on with Telegram is listened to, and 200 is said only when what came is durable: until then Telegram repeats it.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, StatusCode};
use chrono::DateTime;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::api::Failure;
use super::poll::{meet, readable};
use super::receive::take;
use super::retry::pause;
use super::shared::{CALL, Shared, complain};
use crate::listen::unread_limit;

/// An update is a fraction of it.
const LARGEST: usize = 1 << 20;
/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Telegram opens 40 at the most unless asked for more; strangers get what is left.
const CONNECTIONS: usize = 128;
/// How long a peer may take nothing of what it is sent.
const UNREAD: u32 = 30_000;
/// How often Telegram is asked whether it delivers.
pub const LOOK: Duration = Duration::from_secs(60);

/// What Telegram shows with each delivery: made of the bot's token, so that nobody need keep a second secret, and of which the
/// token cannot be told.
pub fn secret(token: &SecretString) -> String {
    let digest = Sha256::digest(format!("openclaw webhook {}", token.expose_secret()));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Listens for ever.
pub async fn serve(shared: Arc<Shared>, listener: TcpListener, secret: Arc<str>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let (mut connections, mut seats) = (JoinSet::new(), Vec::<(Arc<Seat>, AbortHandle)>::new());
    loop {
        tokio::select! {
            _ = connections.join_next(), if !connections.is_empty() => seats.retain(|(_, task)| !task.is_finished()),
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    // The last seat is taken: whoever is idle for another's sake leaves, first who has shown nothing.
                    if connections.len() + 1 == CONNECTIONS {
                        let idle = seats.iter().filter(|(seat, _)| !seat.busy.load(Relaxed));
                        if let Some((_, task)) = idle.min_by_key(|(seat, _)| seat.shown.load(Relaxed)) {
                            task.abort();
                        }
                    }
                    let seat = Arc::new(Seat::default());
                    let serving = connection(stream, seat.clone(), shared.clone(), secret.clone());
                    seats.push((seat, connections.spawn(serving)));
                }
                // Out of descriptors: those in use come back.
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// A connection, as others see it; they are kept in the order in which they came.
#[derive(Default)]
struct Seat {
    /// It has a request in work.
    busy: AtomicBool,
    /// It has shown the secret.
    shown: AtomicBool,
}

async fn connection(stream: TcpStream, seat: Arc<Seat>, shared: Arc<Shared>, secret: Arc<str>) {
    // Where it cannot be set, a reader of an answer is waited for longer.
    let _ = unread_limit(&stream, UNREAD);
    let service = service_fn(|request| {
        let (seat, shared, secret) = (seat.clone(), shared.clone(), secret.clone());
        async move {
            seat.busy.store(true, Relaxed);
            let answer = answer(&shared, &secret, request).await;
            if answer.status() != StatusCode::FORBIDDEN {
                seat.shown.store(true, Relaxed);
            }
            seat.busy.store(false, Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(ARRIVAL).max_buf_size(64 << 10);
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: &Shared, secret: &str, request: Request<Incoming>) -> Response<Body> {
    let said = |status| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    };
    let shown =
        request.headers().get("x-telegram-bot-api-secret-token").map_or(&[][..], |value| value.as_bytes());
    // Hashes of equal length, as with the API's tokens.
    if !bool::from(Sha256::digest(shown).as_slice().ct_eq(Sha256::digest(secret).as_slice())) {
        return said(StatusCode::FORBIDDEN);
    }
    if request.method() != Method::POST {
        return said(StatusCode::METHOD_NOT_ALLOWED);
    }
    let body = timeout(ARRIVAL, to_bytes(Body::new(request.into_body()), LARGEST)).await;
    let body: Bytes = match body {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return said(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => return said(StatusCode::REQUEST_TIMEOUT),
    };
    let Ok(update) = serde_json::from_slice::<Value>(&body) else { return said(StatusCode::BAD_REQUEST) };
    match take(shared, readable(&[update])).await {
        Ok(()) => said(StatusCode::OK),
        Err(error) => {
            tracing::warn!("telegram: what came cannot be stored, and will be delivered again: {error}");
            said(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

/// Tells Telegram where to deliver, and asks again and again whether it does.
pub async fn register(shared: Arc<Shared>, secret: Arc<str>) -> Infallible {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Info {
        last_error_date: i64,
        last_error_message: String,
        pending_update_count: u64,
    }
    meet(&shared).await;
    let webhook = json!({
        "url": shared.settings.webhook_url, "secret_token": &*secret, "allowed_updates": ["message"], "max_connections": 40,
    });
    let (mut faults, mut registered) = (0, false);
    loop {
        let asked: Result<Info, Failure> = if registered {
            shared.api.call("getWebhookInfo", &json!({}), CALL).await
        } else {
            shared.api.call::<bool>("setWebhook", &webhook, CALL).await.map(|_| Info::default())
        };
        match asked {
            Ok(info) => {
                (registered, faults) = (true, 0);
                let now = shared.clock.now();
                let failed = DateTime::from_timestamp(info.last_error_date, 0).unwrap_or_default();
                // Telegram tells the last failure for ever: it counts while something waits because of it.
                if info.pending_update_count > 0 && (now - failed).to_std().unwrap_or_default() < LOOK * 2 {
                    let why = shared.api.told(&info.last_error_message);
                    shared.health().trouble(format!("Telegram cannot deliver: {why}"), false, now);
                } else {
                    shared.health().completed(now);
                }
                sleep(LOOK).await;
            }
            Err(failure) => {
                faults += 1;
                complain(&shared, &failure, faults);
                sleep(pause(&failure, faults)).await;
            }
        }
    }
}
