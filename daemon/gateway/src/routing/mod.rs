//! Which agent gets what comes from outside without a name on it. Pure.
//!
//! The first rule of which all conditions hold decides; else it is the default's. What a rule reads stays in the text: an
//! agent is told all that was said.

use openclaw_agent_api::AgentName;
use settings::{Routing, Rule};

/// What is known of a message before anybody has read it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'m> {
    /// Through which door it came.
    pub channel: &'m str,
    /// In which chat; HTTP has none.
    pub chat: Option<i64>,
    /// Whose it is; HTTP has no senders.
    pub sender: Option<i64>,
    /// What was said.
    pub text: &'m str,
}

/// Who gets it, and by which rule, counted from 1; none: by default.
pub fn route<'r>(routing: &'r Routing, arrival: &Arrival<'_>) -> (&'r AgentName, Option<usize>) {
    let found = (1..).zip(&routing.rules).find(|(_, rule)| holds(rule, arrival));
    let agent = found.and_then(|(number, rule)| Some((rule.agent.as_ref()?, Some(number))));
    agent.unwrap_or((&routing.default, None))
}

fn holds(rule: &Rule, arrival: &Arrival<'_>) -> bool {
    let text = arrival.text.trim_start();
    rule.channel.as_deref().is_none_or(|channel| channel == arrival.channel)
        && rule.chat.is_none_or(|chat| arrival.chat == Some(chat))
        && rule.sender.is_none_or(|sender| arrival.sender == Some(sender))
        && rule.command.as_deref().is_none_or(|command| command_of(text).eq_ignore_ascii_case(command))
        && rule.prefix.as_deref().is_none_or(|prefix| begins(text, prefix))
        && rule.mention.as_deref().is_none_or(|name| mentions(text, name))
}

/// The first word, where it is a command.
fn command_of(text: &str) -> &str {
    let word = text.split_whitespace().next().unwrap_or_default();
    if word.starts_with('/') { word } else { "" }
}

fn begins(text: &str, prefix: &str) -> bool {
    let mut text = text.chars().flat_map(char::to_lowercase);
    prefix.chars().flat_map(char::to_lowercase).all(|c| text.next() == Some(c))
}

/// Whether `@name` is in the text as a word of its own, whatever the case.
pub(crate) fn mentions(text: &str, name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    text.split('@').skip(1).any(|after| {
        let end = after.find(|c| !word(c)).unwrap_or(after.len());
        after[..end].eq_ignore_ascii_case(name)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(toml: &[(&str, Rule)]) -> Routing {
        let rules = toml.iter().map(|(agent, rule)| {
            let agent = Some(agent.parse().unwrap());
            Rule { agent, ..rule.clone() }
        });
        Routing { rules: rules.collect(), ..Routing::default() }
    }

    fn to(routing: &Routing, chat: i64, sender: i64, text: &str) -> String {
        route(routing, &Arrival { channel: "telegram", chat: Some(chat), sender: Some(sender), text })
            .0
            .to_string()
    }

    #[test]
    fn the_first_rule_that_holds_decides() {
        let text = |text: &str| Some(text.to_owned());
        let routing = rules(&[
            ("atlas", Rule { command: text("/resources"), ..Rule::default() }),
            ("scout", Rule { chat: Some(-7), prefix: text("Scout"), ..Rule::default() }),
            ("echo", Rule { mention: text("echo"), ..Rule::default() }),
            ("own", Rule { sender: Some(9), channel: text("telegram"), ..Rule::default() }),
            ("never", Rule { channel: text("pigeon"), ..Rule::default() }),
        ]);
        for (chat, sender, text, agent) in [
            (1, 1, "/resources now", "atlas"),
            (1, 1, " /Resources", "atlas"),
            (1, 1, "/resourcesx", "milkbot"),
            (1, 1, "tell me /resources", "milkbot"),
            (-7, 1, "scout, look", "scout"),
            (-7, 1, "sco", "milkbot"),
            (1, 1, "scout, look", "milkbot"),
            (1, 1, "hello @Echo!", "echo"),
            (1, 1, "hello @echoes", "milkbot"),
            (1, 1, "a@b @echo", "echo"),
            (1, 9, "hello", "own"),
            (1, 9, "/resources", "atlas"),
            (1, 1, "", "milkbot"),
        ] {
            assert_eq!(to(&routing, chat, sender, text), agent, "{text}");
        }
        let (_, number) =
            route(&routing, &Arrival { channel: "telegram", chat: Some(1), sender: Some(9), text: "x" });
        assert_eq!(number, Some(4));
    }

    proptest! {
        #[test]
        fn any_text_is_routed(text in "\\PC{0,40}", prefix in "\\PC{0,4}", mention in "\\PC{0,4}") {
            let rule = |rule: Rule| ("scout", rule);
            let routing = rules(&[
                rule(Rule { prefix: Some(prefix.clone()), ..Rule::default() }),
                rule(Rule { mention: Some(mention), ..Rule::default() }),
            ]);
            let agent = to(&routing, 1, 1, &text);
            if text.trim_start().starts_with(&prefix) {
                prop_assert_eq!(agent, "scout");
            }
        }
    }
}
