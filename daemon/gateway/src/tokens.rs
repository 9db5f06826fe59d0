//! Who may use the API: two secrets, of which only the hashes are kept.

use secrecy::{ExposeSecret, SecretString};
use settings::Secrets;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::Error;

/// The secret that lets do everything.
pub const OPERATOR: &str = "OPENCLAW_GATEWAY_TOKEN";
/// The secret that lets look.
pub const READ: &str = "OPENCLAW_GATEWAY_READ_TOKEN";

/// Fewer characters can be guessed; since a wrong token is never locked out for good, none may be that short.
const SHORTEST: usize = 16;
/// A head has 64 KiB at the most, and a token is no essay.
const LONGEST: usize = 512;

/// What a token lets do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Look.
    Read,
    /// Everything.
    Operator,
}

type Hash = [u8; 32];

/// The tokens that there are. Hashes of equal length are compared, so that neither a token's text nor its length can
/// be told from the time that it takes.
#[derive(Clone, Default)]
pub struct Tokens {
    operator: Option<Hash>,
    read: Option<Hash>,
}

impl Tokens {
    /// The tokens among the secrets.
    ///
    /// # Errors
    /// [`Error::Token`]: one could never be sent, or guessed. [`Error::Empty`]: one has nothing in it.
    pub fn of(secrets: &Secrets) -> Result<Self, Error> {
        for name in [OPERATOR, READ] {
            if let Some(at) = secrets.empty(name) {
                return Err(Error::Empty { name, at: at.clone() });
            }
        }
        let read = |name| secrets.get(name).map(|secret| hash(name, secret)).transpose();
        let tokens = Self { operator: read(OPERATOR)?, read: read(READ)? };
        if tokens.operator.is_some() && tokens.operator == tokens.read {
            return Err(Error::Token { name: READ, why: "it is the operator's as well" });
        }
        Ok(tokens)
    }

    /// Whether there is one that lets do everything.
    pub fn has_operator(&self) -> bool {
        self.operator.is_some()
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        self.operator.is_some() || self.read.is_some()
    }

    /// What `given` lets do; none: it is no token.
    pub fn role(&self, given: &[u8]) -> Option<Role> {
        let given: Hash = Sha256::digest(given).into();
        // Both are always looked at.
        let is = |token: &Option<Hash>| token.is_some_and(|token| bool::from(token.ct_eq(&given)));
        match (is(&self.operator), is(&self.read)) {
            (true, _) => Some(Role::Operator),
            (_, true) => Some(Role::Read),
            _ => None,
        }
    }
}

fn hash(name: &'static str, secret: &SecretString) -> Result<Hash, Error> {
    let text = secret.expose_secret();
    let wrong = |why| Err(Error::Token { name, why });
    // What a header can carry after `Bearer `: <https://www.rfc-editor.org/rfc/rfc6750#section-2.1>.
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)) {
        return wrong("it has characters other than letters, digits and -._~+/=");
    }
    match text.len() {
        0..SHORTEST => wrong("fewer than 16 characters can be guessed"),
        SHORTEST..=LONGEST => Ok(Sha256::digest(text).into()),
        _ => wrong("it has more than 512 characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "0123456789abcdef0123456789abcdef";

    fn tokens(operator: Option<&str>, read: Option<&str>) -> Result<Tokens, Error> {
        let hashed = |name, text: Option<&str>| text.map(|text| hash(name, &text.into())).transpose();
        Ok(Tokens { operator: hashed(OPERATOR, operator)?, read: hashed(READ, read)? })
    }

    #[test]
    fn each_token_has_its_role_and_nothing_else_has_one() {
        let other = LONG.to_uppercase();
        let both = tokens(Some(LONG), Some(&other)).unwrap();
        assert_eq!(both.role(LONG.as_bytes()), Some(Role::Operator));
        assert_eq!(both.role(other.as_bytes()), Some(Role::Read));
        for wrong in ["", "0", &LONG[1..], &format!("{LONG}0"), &format!("{LONG}\0")] {
            assert_eq!(both.role(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(tokens(None, None).unwrap().role(b""), None);
        assert_eq!(tokens(None, Some(LONG)).unwrap().role(LONG.as_bytes()), Some(Role::Read));
    }

    #[test]
    fn what_could_not_be_sent_or_could_be_guessed_is_told_without_being_told() {
        for (text, why) in [
            ("short-secret", "16 characters"),
            ("with a space in it 123", "other than"),
            ("with-a-\n-in-it-1234567", "other than"),
            ("umlaut-\u{fc}-0123456789", "other than"),
            (&"x".repeat(513), "more than 512"),
        ] {
            let told = tokens(Some(text), None).err().unwrap().to_string();
            assert!(told.contains(why) && told.contains(OPERATOR) && !told.contains(text), "{told}");
        }
    }
}
