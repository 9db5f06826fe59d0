//! What is shown under a key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::{Error, Key};

/// Names and texts of a hash.
pub type Fields = BTreeMap<String, String>;

/// A hash to be shown under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projection {
    /// Where.
    pub key: Key,
    /// What; nothing, and the key is forgotten.
    pub fields: Fields,
    /// For how long, in milliseconds and at most [`Self::LONGEST`]; none for ever.
    pub ttl: Option<Duration>,
}

impl Projection {
    /// The most bytes of its names and texts.
    pub const LARGEST: usize = 64 << 10;
    /// The longest that can be asked for: ten years.
    pub const LONGEST: Duration = Duration::from_secs(10 * 31_557_600);

    /// The bytes of its names and texts.
    ///
    /// # Errors
    /// They are more than [`Self::LARGEST`].
    pub(crate) fn size(&self) -> Result<usize, Error> {
        let bytes = self.fields.iter().map(|(name, text)| name.len() + text.len()).sum();
        if bytes > Self::LARGEST {
            return Err(Error::TooLarge { what: format!("`{}`", self.key), bytes, most: Self::LARGEST });
        }
        Ok(bytes)
    }

    /// For how long, as far as that can be asked for.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.ttl.map(|ttl| ttl.clamp(Duration::from_millis(1), Self::LONGEST))
    }
}

/// Keys that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In order.
    pub keys: BTreeSet<Key>,
    /// Whether these are all.
    pub whole: bool,
}

impl Listing {
    /// The most keys of one.
    pub const MOST: usize = 10_000;
}
