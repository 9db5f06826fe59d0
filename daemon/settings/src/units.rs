//! Durations and sizes as people write them: `"30s"`, `"8 MiB"`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `Duration` as a text such as `"250ms"`, `"30s"`, `"5m"`, `"1h 30m"`, `"7days"`.
pub mod duration {
    use super::*;
    use std::time::Duration;

    /// Ten years: longer than any use, short enough that adding one to a clock never overflows.
    pub const MAX: Duration = Duration::from_secs(10 * 31_557_600);

    /// Writes the shortest exact text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&humantime::format_duration(*duration))
    }

    /// Reads a text with a unit.
    ///
    /// # Errors
    /// A text without a unit, a number, or more than [`MAX`].
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        input.deserialize_str(Written)
    }

    struct Written;

    impl de::Visitor<'_> for Written {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration such as \"250ms\", \"30s\", \"5m\" or \"1h\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            match humantime::parse_duration(text) {
                Ok(duration) if duration <= MAX => Ok(duration),
                Ok(_) => Err(E::custom(format!("`{text}` is too long; write at most \"10years\""))),
                Err(_) => Err(E::custom(format!(
                    "`{text}` is no duration; write a number and a unit: \"250ms\", \"30s\", \"5m\" or \"1h\""
                ))),
            }
        }
    }

    /// The JSON Schema of a duration.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["250ms", "30s", "5m", "1h"]})
    }
}

/// `SocketAddr` as a text such as `"127.0.0.1:18789"`, `"[::1]:18789"`.
pub mod address {
    use super::*;
    use std::net::SocketAddr;

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(address: &SocketAddr, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(address)
    }

    /// Reads a text with an address and a port.
    ///
    /// # Errors
    /// A name, or an address without a port.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<SocketAddr, D::Error> {
        let text = String::deserialize(input)?;
        text.parse().map_err(|_| {
            let shown = text.escape_debug();
            de::Error::custom(format!(
                "`{shown}` is no address with a port; write \"127.0.0.1:18789\", or \"[::1]:18789\""
            ))
        })
    }
}

/// Reads a duration such as `30s`, for the command line.
///
/// # Errors
/// A text without a unit, or a number.
pub fn parse(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 250ms, 30s, 5m or 1h"))
}

/// A duration as people write it: `1m 30s`.
pub fn text(duration: std::time::Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A size in bytes, written `"512 KiB"`, `"64 MiB"`, `"1 GiB"` or as a plain number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

const SIZES: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |&(_, shift): &(&str, u32)| self.0 != 0 && self.0.trailing_zeros() >= shift;
        let (unit, shift) = SIZES.into_iter().find(fits).unwrap_or(("B", 0));
        write!(f, "{} {unit}", self.0 >> shift)
    }
}

impl std::str::FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is no size; write \"512 KiB\", \"64 MiB\" or \"1 GiB\"");
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| bad())?;
        let unit = unit.trim();
        let known = SIZES.into_iter().find(|(name, _)| unit.eq_ignore_ascii_case(name));
        let shift = known.map(|(_, shift)| shift).or(unit.is_empty().then_some(0)).ok_or_else(bad)?;
        number.checked_mul(1 << shift).map(ByteSize).ok_or_else(bad)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Written;

        impl de::Visitor<'_> for Written {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"512 KiB\", \"64 MiB\" or \"1 GiB\"")
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                let negative = || E::invalid_value(de::Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(ByteSize).map_err(|_| negative())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
        }
        input.deserialize_any(Written)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "examples": ["512 KiB", "64 MiB", "1 GiB"]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_they_are_written() {
        for (text, bytes) in
            [("0 B", 0), ("1 KiB", 1024), ("64 MiB", 64 << 20), ("3 GiB", 3 << 30), ("1025 B", 1025)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        for bad in ["", "MiB", "-1", "1 MB x", "99999999999 GiB"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
