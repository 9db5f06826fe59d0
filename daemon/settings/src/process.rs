//! What a process of a home is called: its files in `run` bear the name.

use std::fmt;

use sha2::{Digest, Sha256};

/// The longest name, in bytes: that of a socket is bounded, and a home may be deep.
const LONGEST: usize = 32;
/// What runs all components.
const WHOLE: &str = "openclaw";

/// The name of one `openclaw run`: `openclaw` for all components, else those that it was given, as `gateway+milkbot`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessName(String);

impl ProcessName {
    /// The process that runs all.
    pub fn whole() -> Self {
        Self(WHOLE.into())
    }

    /// The process that runs these: their order does not matter. Too long a name ends in a hash of the whole.
    pub fn of<'c>(components: impl IntoIterator<Item = &'c str>) -> Self {
        let mut components: Vec<_> = components.into_iter().collect();
        components.sort_unstable();
        components.dedup();
        let name = components.join("+");
        if name.is_empty() {
            return Self::whole();
        }
        if name.len() <= LONGEST && name != WHOLE {
            return Self(name);
        }
        let hash = Sha256::digest(name.as_bytes());
        let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        // Components are ASCII, and a hash of twelve digits leaves room.
        let kept = name.get(..LONGEST - short.len() - 1).unwrap_or(&name);
        Self(format!("{kept}-{short}"))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it runs all.
    pub fn is_whole(&self) -> bool {
        self.0 == WHOLE
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_called_after_what_it_runs() {
        assert_eq!(ProcessName::of([]), ProcessName::whole());
        assert_eq!(ProcessName::of(["milkbot", "gateway", "milkbot"]).as_str(), "gateway+milkbot");
        assert_ne!(ProcessName::of(["openclaw"]), ProcessName::whole());
        let many: Vec<String> = (0..50).map(|number| format!("agent-{number}")).collect();
        let long = ProcessName::of(many.iter().map(String::as_str));
        let other = ProcessName::of(many.iter().skip(49).chain(&many[..48]).map(String::as_str));
        assert!(long.as_str().len() <= LONGEST && long != other, "{long} {other}");
    }
}
