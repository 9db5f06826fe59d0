//! A provider's breaker in somebody's hands: calls pass it over for a while, or no longer.

use limits::Opened;

use crate::Handle;
use crate::exchange::{BREAKER, Candidate, key, over_with};
use crate::settlement::{Level, Notice};

/// The longest reason, in characters: of one in a terminal's table.
const REASON: usize = 400;

/// There is no provider of this name whose key is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no provider `{}` with its key{}; `openclaw breakers list` shows them", name.escape_debug(), near.as_ref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
pub struct Unknown {
    /// What was asked for.
    pub name: String,
    /// The nearest that there is.
    pub near: Option<String>,
}

impl Handle {
    /// Opens a provider's breaker for the longest that it may be open. Answers what the operator should hear of; none: it is open.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn open_breaker(&self, name: &str, actor: &str, reason: &str) -> Result<Option<Notice>, Unknown> {
        let reason: String = reason.chars().take(REASON).collect();
        self.turn(name, |this, candidate| {
            let at = this.0.clock.steady();
            let opened = Opened { at, actor: actor.into(), reason: reason.clone() };
            let set = this.0.set();
            let until = candidate.state().gate.hold(&set.described.failover.breaker, opened)?;
            let until = until + this.0.clock.step();
            let text =
                format!("the provider `{name}` is left alone until {until:.0}: its breaker was opened by {actor}: {reason}");
            Some(Notice { agent: None, level: Level::Warning, key: key(candidate, BREAKER), text })
        })
    }

    /// Closes a provider's breaker for good. Answers what the operator should hear of; none: it is closed.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn close_breaker(&self, name: &str, actor: &str, reason: &str) -> Result<Option<Notice>, Unknown> {
        let reason: String = reason.chars().take(REASON).collect();
        self.turn(name, |this, candidate| {
            let closed = candidate.state().gate.close(this.0.clock.steady());
            let what = format!("is asked again: its breaker was closed by {actor}: {reason}");
            closed.then(|| over_with(candidate, BREAKER, &what))
        })
    }

    fn turn(
        &self,
        name: &str,
        how: impl FnOnce(&Self, &Candidate) -> Option<Notice>,
    ) -> Result<Option<Notice>, Unknown> {
        let set = self.0.set();
        let all = || set.chat.iter().chain(&set.search);
        let Some(candidate) = all().find(|candidate| candidate.name == name) else {
            let near = settings::nearest(name, all().map(|candidate| candidate.name.as_str()));
            return Err(Unknown { name: name.into(), near: near.map(str::to_owned) });
        };
        let notice = how(self, candidate);
        if notice.is_some() {
            self.0.changed.send_modify(|count| *count += 1);
        }
        Ok(notice)
    }
}
