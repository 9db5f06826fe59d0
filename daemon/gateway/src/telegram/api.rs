//! The Bot API over HTTP: <https://core.telegram.org/bots/api#making-requests>. The token is a part of each address, so no
//! address is ever told to anybody.

use std::sync::Arc;
use std::time::Duration;

use providers::client;
use reqwest::{Client, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use settings::Redactor;
use supervisor::submission::misleads;

use super::Error;

/// The largest answer: a hundred updates of the longest messages have a fraction of it.
const LARGEST: usize = 8 << 20;
/// What is said of a failure is for a line of a log.
const WHY: usize = 200;

/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// 401, 404: no bot has this token.
    #[error(
        "Telegram does not know the token (401): write the bot's own into .env as {}=…",
        settings::BOT_TOKEN
    )]
    Unauthorized,
    /// 409: somebody else listens to the bot.
    #[error("another program listens to this bot (409): stop it, or give each a bot of its own ({why})")]
    Conflict {
        /// What Telegram says.
        why: String,
    },
    /// 429: less, and later.
    #[error("Telegram asks to wait for {retry_after:?} (429)")]
    TooMany {
        /// So long.
        retry_after: Duration,
    },
    /// 400: the group became a supergroup, with another id.
    #[error("the group has become a supergroup, and has the id {to} now")]
    Moved {
        /// Its id.
        to: i64,
    },
    /// 4xx: the call is wrong.
    #[error("Telegram refuses it ({code}): {why}")]
    Refused {
        /// Which.
        code: u16,
        /// What Telegram says.
        why: String,
    },
    /// 5xx: the server is.
    #[error("Telegram fails ({code})")]
    Server {
        /// Which.
        code: u16,
    },
    /// There was no answer, or none that reads.
    #[error("Telegram cannot be reached: {why}")]
    Unreachable {
        /// Why.
        why: String,
    },
}

/// What every answer is.
#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Answer<T> {
    #[serde(default)]
    ok: bool,
    #[serde(default = "Option::default")]
    result: Option<T>,
    #[serde(default)]
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    retry_after: Option<u64>,
    #[serde(default)]
    migrate_to_chat_id: Option<i64>,
}

/// A bot at its server. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    http: Client,
    base: Arc<str>,
    token: Arc<SecretString>,
    redactor: Redactor,
}

impl Api {
    /// A client for the bot of that token at the server `base`.
    ///
    /// # Errors
    /// [`Error::Token`]: it cannot be one; [`Error::Client`].
    pub fn new(base: &str, token: SecretString) -> Result<Self, Error> {
        let text = token.expose_secret();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
        if !text.contains(':') || text.len() > 256 || !text.bytes().all(good) {
            return Err(Error::Token);
        }
        let http = client::to(base).map_err(|error| Error::Client(error.to_string()))?;
        let redactor = Redactor::of([&token]);
        Ok(Self { http, base: base.trim_end_matches('/').into(), token: Arc::new(token), redactor })
    }

    /// Calls a method.
    ///
    /// # Errors
    /// Why it was not carried out, as far as that is known.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &Value,
        within: Duration,
    ) -> Result<T, Failure> {
        let address = format!("{}/bot{}/{method}", self.base, self.token.expose_secret());
        let sent = self.http.post(address).timeout(within).json(parameters).send().await;
        let response = sent.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let body = self.body(response).await?;
        let answer: Answer<T> = match serde_json::from_slice(&body) {
            Ok(answer) => answer,
            Err(_) if !status.is_success() => {
                return Err(self.failure(status.as_u16(), "", &Parameters::default()));
            }
            Err(error) => {
                // What it was is not told: it may hold anything.
                let why = format!(
                    "its answer to {method} does not read, in line {} column {}",
                    error.line(),
                    error.column()
                );
                return Err(Failure::Unreachable { why });
            }
        };
        match answer.result {
            Some(result) if answer.ok => Ok(result),
            _ => {
                let code = answer.error_code.unwrap_or(if answer.ok { 502 } else { status.as_u16() });
                Err(self.failure(code, &answer.description, &answer.parameters))
            }
        }
    }

    /// A file that `getFile` gave the path of; the caller reads it.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn file(&self, path: &str, within: Duration) -> Result<Response, Failure> {
        let address = format!("{}/file/bot{}/{path}", self.base, self.token.expose_secret());
        let response = self.http.get(address).timeout(within).send().await;
        let response = response.map_err(|error| self.unreachable(error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            // Here it is the file that there is not any more.
            StatusCode::NOT_FOUND => Err(Failure::Refused { code: 404, why: "there is no such file".into() }),
            status => Err(self.failure(status.as_u16(), "", &Parameters::default())),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(Failure::Unreachable { why: "its answer is too long".into() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failure(&self, code: u16, why: &str, parameters: &Parameters) -> Failure {
        if let Some(to) = parameters.migrate_to_chat_id {
            return Failure::Moved { to };
        }
        let why = self.told(if why.is_empty() { "without a word" } else { why });
        match code {
            401 | 404 => Failure::Unauthorized,
            409 => Failure::Conflict { why },
            429 => Failure::TooMany { retry_after: Duration::from_secs(parameters.retry_after.unwrap_or(5)) },
            // An answer that is neither is as good as none.
            400..500 => Failure::Refused { code, why },
            _ => Failure::Server { code },
        }
    }

    /// Why there was no answer: the cause of it, without the address.
    pub fn unreachable(&self, error: reqwest::Error) -> Failure {
        if error.is_timeout() {
            return Failure::Unreachable { why: "it did not answer in time".into() };
        }
        Failure::Unreachable { why: self.told(&client::cause(error)) }
    }

    /// What others say is cut to a line, and does not repeat the token.
    pub fn told(&self, text: &str) -> String {
        let text = self.redactor.redact(text);
        text.chars().filter(|c| !misleads(*c)).take(WHY).collect()
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring;

    use super::*;

    #[test]
    fn a_token_that_is_none_is_refused_without_being_told() {
        for text in ["hidden", "1:hid den", "1:hid/den", "1:hidden\n"] {
            let told = Api::new("http://127.0.0.1:1", text.into()).err().unwrap().to_string();
            assert!(told.contains("TELEGRAM_BOT_TOKEN") && !told.contains("hid"), "{told}");
        }
    }

    #[tokio::test]
    async fn a_server_whose_certificate_nobody_vouches_for_is_told_nothing() {
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api =
            Api::new(&format!("https://{}", listener.local_addr().unwrap()), "1:hidden".into()).unwrap();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.err()
        };
        let parameters = Value::Null;
        let call = api.call::<Value>("getMe", &parameters, Duration::from_secs(10));
        let (served, called) = tokio::join!(serve, call);
        // There was a handshake, and the client has ended it.
        assert!(served.unwrap().to_string().contains("alert"));
        let told = called.unwrap_err().to_string();
        assert!(told.contains("invalid peer certificate") && !told.contains("hidden"), "{told}");
    }

    #[test]
    fn what_telegram_says_does_not_repeat_the_token() {
        let api = Api::new("http://127.0.0.1:1", "1:hidden".into()).unwrap();
        let failure = api.failure(409, "terminated /bot1:hidden/ by \u{202e}other", &Parameters::default());
        assert_eq!(failure, Failure::Conflict { why: "terminated /bot***/ by other".into() });
        let waits = Failure::TooMany { retry_after: Duration::from_secs(5) };
        assert_eq!(api.failure(429, "", &Parameters::default()), waits);
    }
}
