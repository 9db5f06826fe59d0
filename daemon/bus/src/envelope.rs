//! What travels on a channel.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::Error;

/// The one form that is written and read.
const FORM: u8 = 1;

/// A signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The envelope's form: 1.
    pub v: u8,
    /// A UUID v7.
    pub id: Uuid,
    /// When it was sent.
    #[serde(serialize_with = "rfc3339")]
    pub ts: DateTime<Utc>,
    /// Who sent it: a component's name.
    pub source: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// The rest.
    pub data: Value,
}

fn rfc3339<S: serde::Serializer>(at: &DateTime<Utc>, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

impl Envelope {
    /// The largest that is sent or heard, as JSON, in bytes: a signal points to the truth, it does not carry it.
    pub const LARGEST: usize = 64 << 10;

    /// An envelope with a new id.
    pub fn new(source: impl Into<String>, kind: impl Into<String>, data: Value, ts: DateTime<Utc>) -> Self {
        Self { v: FORM, id: Uuid::now_v7(), ts, source: source.into(), kind: kind.into(), data }
    }

    /// As it is sent.
    ///
    /// # Errors
    /// It is larger than [`Self::LARGEST`].
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, Error> {
        let json = serde_json::to_vec(self).map_err(|error| Error::Strange { text: error.to_string() })?;
        match json.len() {
            0..=Self::LARGEST => Ok(json),
            bytes => Err(Error::TooLarge { what: "the signal".into(), bytes, most: Self::LARGEST }),
        }
    }

    /// As it was heard; none when it is no envelope.
    pub(crate) fn from_json(json: &[u8]) -> Option<Self> {
        let envelope: Self =
            (json.len() <= Self::LARGEST).then(|| serde_json::from_slice(json).ok()).flatten()?;
        (envelope.v == FORM).then_some(envelope)
    }
}
