//! What the daemon does itself when it is told so, whatever becomes of the agents: commands of operators, and `/help`. Pure.

use openclaw_agent_api::manifest::Command;
use serde::{Deserialize, Serialize};

/// The most commands that Telegram's menu takes: <https://core.telegram.org/bots/api#setmycommands>.
const MENU: usize = 100;
/// The longest help in it, in characters.
const MENU_HELP: usize = 256;

/// What is commanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direct {
    /// What can be typed.
    Help,
    /// How all stand.
    Status,
    /// Bring an agent up.
    Start(String),
    /// Bring an agent down.
    Stop(String),
    /// A new process for an agent.
    Restart(String),
    /// Run the file that there is now.
    Reload(String),
    /// Run the last good library.
    Rollback(String),
    /// Alerts are known: that of this id or fingerprint, or all that are open.
    Ack(Option<String>),
    /// One of the above, without the name of an agent.
    Nobody(String),
}

/// What operators can type, and what it does.
const COMMANDS: [(&str, &str); 7] = [
    ("/status", "how every component is, from the daemon itself"),
    ("/restart AGENT", "gives an agent a new process"),
    ("/stop AGENT", "brings an agent down, and leaves it so"),
    ("/start AGENT", "brings an agent up"),
    ("/reload AGENT", "runs the library that the agents folder has now"),
    ("/rollback AGENT", "runs the last good library again"),
    ("/ack [NUMBER]", "says that you know of an alert, or of all that are open: nobody is reminded of it"),
];

/// What a text commands; none: it is for an agent. Who is no operator asks the front desk for the status.
pub fn read(text: &str, operator: bool) -> Option<Direct> {
    let mut words = text.split_whitespace();
    let command = words.next()?.to_ascii_lowercase();
    let word = words.next();
    let agent = word.map(str::to_lowercase);
    let about = |direct: fn(String) -> Direct| {
        Some(agent.clone().map_or_else(|| Direct::Nobody(command.clone()), direct))
    };
    match command.as_str() {
        "/help" => Some(Direct::Help),
        // What Telegram sends when a person opens the chat.
        "/start" if agent.is_none() => Some(Direct::Help),
        "/status" if operator && agent.is_none() => Some(Direct::Status),
        "/ack" => Some(Direct::Ack(word.map(str::to_owned))),
        "/start" => about(Direct::Start),
        "/stop" => about(Direct::Stop),
        "/restart" => about(Direct::Restart),
        "/reload" => about(Direct::Reload),
        "/rollback" => about(Direct::Rollback),
        _ => None,
    }
}

impl Direct {
    /// Whether only operators may.
    pub fn needs_operator(&self) -> bool {
        !matches!(self, Self::Help)
    }
}

/// What `/help` answers: what every agent says that it understands.
pub fn help(agents: &[(String, Vec<Command>)], operator: bool) -> String {
    let mut text = String::from("What you can type here:\n");
    for (agent, commands) in agents.iter().filter(|(_, commands)| !commands.is_empty()) {
        text.push_str(&format!("\n**{}**\n", agent.replace(['*', '`'], "")));
        for command in commands {
            text.push_str(&format!("{} - {}\n", command.usage, command.help));
        }
    }
    if operator {
        text.push_str("\n**operators**\n");
        for (usage, help) in COMMANDS {
            text.push_str(&format!("{usage} - {help}\n"));
        }
    }
    text
}

/// Telegram's menu: each command's name without its `/`, and its help. What Telegram would refuse is left out, lest it
/// refuses all; of two with one name the first stays.
pub fn menu(agents: &[(String, Vec<Command>)]) -> Vec<(String, String)> {
    let mut menu = vec![("help".to_owned(), "lists what every agent understands".to_owned())];
    for command in agents.iter().flat_map(|(_, commands)| commands) {
        let word = command.usage.split_whitespace().next().unwrap_or_default();
        let Some(name) = word.strip_prefix('/').map(str::to_lowercase) else { continue };
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !(1..=32).contains(&name.len()) || !name.chars().all(good) || menu.iter().any(|(n, _)| *n == name)
        {
            continue;
        }
        let help: String = command.help.trim().chars().take(MENU_HELP).collect();
        menu.push((name, if help.is_empty() { word.to_owned() } else { help }));
    }
    menu.truncate(MENU);
    menu
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn command(usage: &str, help: &str) -> Command {
        Command { usage: usage.into(), help: help.into() }
    }

    #[test]
    fn what_is_commanded() {
        let atlas = || "atlas".to_owned();
        for (text, operator, direct) in [
            ("/help", false, Some(Direct::Help)),
            ("/start", false, Some(Direct::Help)),
            ("/start atlas", false, Some(Direct::Start(atlas()))),
            ("/status", true, Some(Direct::Status)),
            ("/status", false, None),
            ("/RESTART Atlas now", true, Some(Direct::Restart(atlas()))),
            ("/restart", true, Some(Direct::Nobody("/restart".into()))),
            ("/ack", true, Some(Direct::Ack(None))),
            ("/ack 7", false, Some(Direct::Ack(Some("7".into())))),
            ("/resources", true, None),
            ("restart atlas", true, None),
            ("", true, None),
        ] {
            assert_eq!(read(text, operator), direct, "{text}");
        }
        assert!(Direct::Stop(atlas()).needs_operator() && !Direct::Help.needs_operator());
    }

    #[test]
    fn help_and_menu_list_what_every_agent_says() {
        let agents = [
            ("milkbot".into(), vec![command("/help", "all"), command("/tell AGENT TEXT", "hands work over")]),
            ("scout".into(), vec![command("/analyze", ""), command("/Bad-Name", "x"), command("plain", "x")]),
            ("quiet".into(), vec![]),
        ];
        let text = help(&agents, false);
        assert!(
            text.contains("**scout**\n/analyze - \n") && text.contains("/tell AGENT TEXT - hands work over")
        );
        assert!(
            !text.contains("quiet")
                && !text.contains("/restart")
                && help(&agents, true).contains("/restart AGENT")
        );
        let names: Vec<_> = menu(&agents).into_iter().map(|(name, help)| format!("{name}:{help}")).collect();
        assert_eq!(names[1..], ["tell:hands work over", "analyze:/analyze"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_menu_is_what_telegram_takes(usages in prop::collection::vec(("/?\\PC{0,40}", "\\PC{0,300}"), 0..150)) {
            let commands = usages.iter().map(|(usage, help)| command(usage, help)).collect();
            let menu = menu(&[("a".into(), commands)]);
            prop_assert!(menu.len() <= MENU);
            for (name, help) in &menu {
                prop_assert!((1..=32).contains(&name.len()) && (1..=256).contains(&help.chars().count()));
                prop_assert_eq!(menu.iter().filter(|(other, _)| other == name).count(), 1);
            }
        }
    }
}
