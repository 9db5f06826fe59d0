//! What a library is known and trusted by: its hash, the keys that may sign it.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A SHA-256: 64 hexadecimal digits in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Sha256(String);

/// A text that is no SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no SHA-256: use the 64 hexadecimal digits that `sha256sum` prints", shown(.0))]
pub struct BadSha256(String);

impl Sha256 {
    const DIGITS: usize = 64;

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: enough for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }

    /// The hash that has these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        use fmt::Write;
        Self(bytes.iter().fold(String::with_capacity(Self::DIGITS), |mut hex, byte| {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
    }
}

impl FromStr for Sha256 {
    type Err = BadSha256;

    fn from_str(text: &str) -> Result<Self, BadSha256> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len() == Self::DIGITS { Ok(Self(text.into())) } else { Err(BadSha256(text.into())) }
    }
}

/// A minisign public key: the second line of a `.pub` file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct PublicKey(String);

/// A text that is no public key of minisign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no public key of minisign: use the second line of its .pub file", shown(.0))]
pub struct BadPublicKey(String);

impl PublicKey {
    /// 42 bytes in base64: the algorithm, the key's id, the key.
    const LENGTH: usize = 56;
    /// The algorithm, `Ed`, and the two bits that are left over of its last digit.
    const BEGIN: [&str; 4] = ["RWQ", "RWR", "RWS", "RWT"];

    /// The key in base64.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PublicKey {
    type Err = BadPublicKey;

    fn from_str(text: &str) -> Result<Self, BadPublicKey> {
        let base64 = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
        let begins = Self::BEGIN.iter().any(|begin| text.starts_with(begin));
        if base64 && begins && text.len() == Self::LENGTH {
            Ok(Self(text.into()))
        } else {
            Err(BadPublicKey(text.into()))
        }
    }
}

macro_rules! text {
    ($($name:ident: $error:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(it: $name) -> Self {
                it.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

text! { Sha256: BadSha256, PublicKey: BadPublicKey }

/// So much of a wrong text is shown: it may be a secret key, put in the wrong place.
fn shown(text: &str) -> String {
    const MOST: usize = 16;
    let begin: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() { format!("{begin}…") } else { begin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_64_digits_in_lower_case() {
        let hash = Sha256::from_bytes([0xa7; 32]);
        assert_eq!(hash.as_str().parse(), Ok(hash.clone()));
        assert_eq!(hash.short(), "a7a7a7a7a7a7");
        for bad in ["", "a7", &hash.as_str().to_uppercase(), &format!("{hash}0"), &"é".repeat(32)] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_what_minisign_writes_and_a_wrong_text_is_not_shown_as_a_whole() {
        let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        assert_eq!(key.parse::<PublicKey>().unwrap().as_str(), key);
        for bad in ["", "RWQ", &key.replacen('R', "S", 1), &format!("{key}A"), &key.replace('f', "=")] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
        let error = format!("{key}{key}").parse::<PublicKey>().unwrap_err().to_string();
        assert!(error.starts_with("`RWQf6LRCGA9i53ml…` is no public key"), "{error}");
    }
}
