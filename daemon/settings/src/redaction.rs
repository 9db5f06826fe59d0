//! What is written and told does not hold a secret, whatever somebody else's error has in it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::load::Inputs;
use crate::paths::Paths;
use crate::secrets::Secrets;

/// What stands in a secret's place.
const MASK: &str = "***";
/// What all who shorten a text put at its end.
const CUT: char = '…';
/// Shorter ones are a part of ordinary words; no key that is worth having is so short.
const SHORTEST: usize = 8;

/// Replaces secrets in texts by `***`: as they are, percent-encoded, in base64 and escaped. Cheap to clone.
///
/// Secrets of fewer than 8 bytes are left as they are. Of `ID:SECRET`, as the tokens of Telegram's bots are, what is behind
/// the last colon is one by itself, if it has 16 bytes.
#[derive(Clone, Default)]
pub struct Redactor(Arc<[SecretString]>);

impl Redactor {
    /// For these secrets.
    pub fn of<'s>(secrets: impl IntoIterator<Item = &'s SecretString>) -> Self {
        let mut forms = Vec::new();
        for secret in secrets.into_iter().map(ExposeSecret::expose_secret) {
            let behind = secret.rsplit_once(':').map(|(_, behind)| behind).filter(|it| it.len() >= 16);
            for text in [Some(secret), behind].into_iter().flatten().filter(|it| it.len() >= SHORTEST) {
                forms.extend(written(text));
            }
        }
        // What holds another goes first, or half of it would stay.
        forms.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        forms.dedup();
        Self(forms.into_iter().map(SecretString::from).collect())
    }

    /// For the secrets that a program with these inputs has, as far as they can be read.
    pub fn of_inputs(inputs: &Inputs) -> Self {
        let Ok(paths) = Paths::resolve(inputs) else { return Self::default() };
        Secrets::load(&paths.env_file, &inputs.env).0.redactor()
    }

    /// The text without secrets; of one that was cut off with `…`, without the 8 bytes or more of a secret before that.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for form in self.0.iter().map(ExposeSecret::expose_secret) {
            if text.contains(form) {
                text = Cow::Owned(text.replace(form, MASK));
            }
            if let Some(begin) = text.strip_suffix(CUT).and_then(|text| begun(text, form)) {
                text = Cow::Owned(format!("{}{MASK}{CUT}", &text[..begin]));
            }
        }
        text
    }

    /// Takes secrets out of a text, as [`redact`](Self::redact) does.
    pub fn redact_in(&self, text: &mut String) {
        if let Cow::Owned(told) = self.redact(text) {
            *text = told;
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor of {} forms", self.0.len())
    }
}

/// Where a text goes over into the form of a secret, if it ends with a part of one that can be told for it.
fn begun(text: &str, form: &str) -> Option<usize> {
    let first = form.char_indices().map(|(at, _)| at).find(|at| *at >= SHORTEST)?;
    let from = text.ceil_char_boundary(text.len().saturating_sub(form.len()));
    let mut found = text[from..].match_indices(&form[..first]).map(|(at, _)| from + at);
    found.find(|at| form.starts_with(&text[*at..]))
}

/// How a text may be written by others.
fn written(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned(), text.escape_debug().to_string(), text.escape_default().to_string()];
    let json = serde_json::to_string(text).unwrap_or_default();
    forms.push(json.trim_matches('"').to_owned());
    forms.extend(["-._~", "-._~!$&'()*+,;=:@", "-._~!$&'()*+,;=:@/?"].map(|kept| percent(text, kept)));
    forms.push(url::form_urlencoded::byte_serialize(text.as_bytes()).collect());
    let lower: Vec<_> = forms[4..].iter().map(|form| lower_case(form)).collect();
    forms.extend(lower);
    forms.extend((0..3).map(|before| base64(text.as_bytes(), before)));
    let url_safe: Vec<_> =
        forms[forms.len() - 3..].iter().map(|it| it.replace('+', "-").replace('/', "_")).collect();
    forms.extend(url_safe);
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

/// Percent-encoded but for letters, digits and what is kept: who writes URLs does not agree on that.
fn percent(text: &str, kept: &str) -> String {
    let one = |byte: u8| match char::from(byte) {
        c if c.is_ascii_alphanumeric() || kept.contains(c) => c.to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// With `%2f` for `%2F`.
fn lower_case(encoded: &str) -> String {
    let mut digits = 0;
    let one = |c: char| {
        digits = if c == '%' { 2 } else { i32::max(digits - 1, -1) };
        if digits >= 0 { c.to_ascii_lowercase() } else { c }
    };
    encoded.chars().map(one).collect()
}

/// What is the same of a text's base64 whatever `before % 3` bytes stand before it, and whatever follows.
fn base64(bytes: &[u8], before: usize) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits = |at: usize| {
        // The six bits from there on; none where they are not all of the text.
        (at..at + 6).try_fold(0_usize, |sum, bit| {
            let byte = bytes.get((bit / 8).checked_sub(before)?)?;
            Some(sum << 1 | usize::from(byte >> (7 - bit % 8) & 1))
        })
    };
    let digits = (0..(before + bytes.len()) * 8).step_by(6).filter_map(bits);
    digits.map(|digit| char::from(DIGITS[digit])).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let secrets: Vec<SecretString> = secrets.iter().map(|it| SecretString::from(*it)).collect();
        Redactor::of(&secrets)
    }

    #[test]
    fn a_secret_is_replaced_however_it_is_written() {
        let redactor = redactor(&["p/ss wörd\"1+2"]);
        for (text, told) in [
            ("no route to p/ss wörd\"1+2: gone", "no route to ***: gone"),
            ("p/ss wörd\"1+2p/ss wörd\"1+2", "******"),
            (r#"{"key":"p/ss wörd\"1+2"}"#, r#"{"key":"***"}"#),
            ("GET /?key=p%2Fss%20w%C3%B6rd%221%2B2&x", "GET /?key=***&x"),
            ("GET /?key=p%2fss%20w%c3%b6rd%221%2b2&x", "GET /?key=***&x"),
            ("GET /?key=p%2Fss+w%C3%B6rd%221%2B2&x", "GET /?key=***&x"),
            ("GET /p%2Fss%20w%C3%B6rd%221+2/x", "GET /***/x"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(redactor.redact(text), told);
        }
    }

    #[test]
    fn base64_of_it_and_of_what_it_is_a_part_of_is_replaced() {
        let redactor = redactor(&["hidden-hidden"]);
        // `hidden-hidden`, `a:hidden-hidden`, `ab:hidden-hidden`, each by coreutils' base64.
        for text in ["aGlkZGVuLWhpZGRlbg==", "YTpoaWRkZW4taGlkZGVu", "YWI6aGlkZGVuLWhpZGRlbg=="] {
            let told = redactor.redact(text).into_owned();
            assert!(told.contains(MASK) && told.len() <= 11, "{text}: {told}");
        }
    }

    #[test]
    fn what_is_short_is_left_and_what_holds_another_goes_whole() {
        assert_eq!(redactor(&["postgre"]).redact("postgres is away"), "postgres is away");
        assert_eq!(redactor(&["12345678", "0123456789"]).redact("x0123456789x12345678x"), "x***x***x");
        let token = redactor(&["123456:AAhidden-hidden-hidden"]);
        assert_eq!(token.redact("/bot123456:AAhidden-hidden-hidden/getMe"), "/bot***/getMe");
        assert_eq!(token.redact("AAhidden-hidden-hidden"), "***");
        assert_eq!(token.redact("bot 123456"), "bot 123456");
        assert_eq!(token.redact("bot AAhidden-hid…"), "bot ***…");
        assert_eq!(token.redact("bot AAhidd…"), "bot AAhidd…");
        assert_eq!(token.redact("bot AAhidden-hid"), "bot AAhidden-hid");
        assert!(!format!("{token:?}").contains("hidden"));
    }

    proptest! {
        #[test]
        fn nothing_of_a_secret_is_left(secret in "[a-zA-Z0-9/+:@!\"\\\\ -]{8,40}", around in "[ -~]{0,20}") {
            let (redactor, before) = (redactor(&[&secret]), around.contains(&secret));
            prop_assume!(!before);
            for form in [secret.clone(), format!("{secret:?}"), percent(&secret, "")] {
                let told = redactor.redact(&format!("{around}{form}{around}")).into_owned();
                prop_assert!(!told.contains(&secret), "{}", told);
            }
        }
    }
}
