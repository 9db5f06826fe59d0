//! What an update means. Pure.
//!
//! Only what is used here is read of a message, <https://core.telegram.org/bots/api#message>; what else it holds may change.

use serde::{Deserialize, Serialize};
use supervisor::submission::misleads;

use crate::routing::mentions;

/// The longest name of a person that is kept, in characters.
const NAME: usize = 64;

/// `Update`
#[derive(Debug, Deserialize)]
pub struct Update {
    /// Ever larger; a second delivery has the same.
    pub update_id: i64,
    /// None: something that was not asked for.
    #[serde(default)]
    pub message: Option<Message>,
}

/// `Message`
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    message_id: i64,
    message_thread_id: Option<i64>,
    is_topic_message: bool,
    from: Option<User>,
    chat: Chat,
    text: Option<String>,
    caption: Option<String>,
    reply_to_message: Option<Box<Message>>,
    document: Option<Attached>,
    audio: Option<Attached>,
    video: Option<Attached>,
    voice: Option<Attached>,
    photo: Vec<Attached>,
    migrate_to_chat_id: Option<i64>,
    migrate_from_chat_id: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Chat {
    id: i64,
    #[serde(rename = "type")]
    kind: String,
}

/// `User`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct User {
    /// Never changes.
    pub id: i64,
    is_bot: bool,
    first_name: String,
    last_name: Option<String>,
    /// Without its `@`.
    pub username: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Attached {
    file_id: String,
    file_name: Option<String>,
    file_size: Option<u64>,
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The chat.
    pub chat: i64,
    /// The topic in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<i64>,
    /// The message that it answers, where several people talk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<i64>,
}

impl Place {
    /// A person's own chat.
    pub fn chat(chat: i64) -> Self {
        Self { chat, thread: None, reply_to: None }
    }

    /// What is of one session is answered in order.
    pub fn session(&self) -> String {
        format!("telegram:{}", self.chat)
    }
}

/// Somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Telegram's number of them.
    pub id: i64,
    /// What they call themselves, which can be anything.
    pub name: String,
}

/// A file that was sent, to be fetched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// By which it is fetched.
    pub id: String,
    /// As its sender calls it.
    pub name: String,
    /// As far as that is known.
    #[serde(default)]
    pub size: Option<u64>,
}

/// A message, as it was meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// The update's.
    pub update: i64,
    /// Where it was said.
    pub place: Place,
    /// By whom.
    pub sender: Person,
    /// Whether others are in the chat.
    pub group: bool,
    /// Whether it is said to the bot.
    pub addressed: bool,
    /// What was said, without the bot's own name.
    pub text: String,
    /// What was sent along.
    pub file: Option<Sent>,
}

impl Inbound {
    /// A second delivery has the same.
    pub fn key(&self) -> String {
        format!("telegram:{}", self.update)
    }

    /// As a task's source.
    pub fn source(&self) -> String {
        format!("telegram:{}", self.sender.id)
    }
}

/// The old and the new id of a group that an update says has become a supergroup: it is told in both.
pub fn moved(update: &Update) -> Option<(i64, i64)> {
    let message = update.message.as_ref()?;
    let here = message.chat.id;
    let to = message.migrate_to_chat_id.map(|to| (here, to));
    to.or_else(|| message.migrate_from_chat_id.map(|from| (from, here)))
}

/// What an update says to the bot called `me`; none where nobody says anything.
pub fn read(update: Update, me: &User) -> Option<Inbound> {
    let message = update.message?;
    let from = message.from.as_ref().filter(|from| !from.is_bot && from.id != 0)?;
    let group = message.chat.kind != "private";
    if message.chat.kind == "channel" || message.chat.id == 0 {
        return None;
    }
    let sender = Person { id: from.id, name: called(from) };
    let said = message.text.clone().or_else(|| message.caption.clone()).unwrap_or_default();
    let file = sent(&message);
    if said.trim().is_empty() && file.is_none() {
        return None;
    }
    let name = me.username.as_deref().unwrap_or_default();
    let (text, named) = without_name(&said, name);
    let answers = message.reply_to_message.and_then(|earlier| earlier.from);
    let addressed = match named {
        Named::Us => true,
        Named::Other => false,
        Named::Nobody => {
            !group || mentions(&said, name) || answers.is_some_and(|earlier| earlier.id == me.id)
        }
    };
    let thread = message.message_thread_id.filter(|_| message.is_topic_message);
    let place = Place { chat: message.chat.id, thread, reply_to: group.then_some(message.message_id) };
    Some(Inbound { update: update.update_id, place, sender, group, addressed, text, file })
}

enum Named {
    Us,
    Other,
    Nobody,
}

/// `/command@bot` and a leading `@bot` are said to a bot; what follows is what it is told.
fn without_name(said: &str, me: &str) -> (String, Named) {
    let said = said.trim();
    let (word, rest) = said.split_once(char::is_whitespace).unwrap_or((said, ""));
    match word.split_once('@') {
        Some((command, bot)) if command.starts_with('/') || command.is_empty() => {
            if bot.trim_end_matches([',', ':']).eq_ignore_ascii_case(me) {
                (format!("{command} {rest}").trim().to_owned(), Named::Us)
            } else if command.is_empty() {
                // Somebody else is spoken to, and the bot may be mentioned all the same.
                (said.to_owned(), Named::Nobody)
            } else {
                (said.to_owned(), Named::Other)
            }
        }
        _ => (said.to_owned(), Named::Nobody),
    }
}

fn called(user: &User) -> String {
    let whole = [Some(&user.first_name), user.last_name.as_ref()].into_iter().flatten();
    let whole = whole.map(String::as_str).collect::<Vec<_>>().join(" ");
    let name: String = whole.chars().filter(|c| !misleads(*c)).take(NAME).collect();
    let name = name.trim().to_owned();
    if name.is_empty() { format!("user {}", user.id) } else { name }
}

fn sent(message: &Message) -> Option<Sent> {
    let named = [&message.document, &message.audio, &message.video];
    let found = named.into_iter().flatten().next().map(|file| (file, "file.bin"));
    let found = found.or_else(|| message.voice.as_ref().map(|file| (file, "voice.oga")));
    // The last of several sizes is the largest.
    let (file, default) = found.or_else(|| message.photo.last().map(|file| (file, "photo.jpg")))?;
    let name = file.file_name.clone().unwrap_or_else(|| default.into());
    Some(Sent { id: file.file_id.clone(), name, size: file.file_size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn me() -> User {
        User { id: 666, username: Some("OpenBot".into()), ..User::default() }
    }

    fn message(kind: &str, more: &Value) -> Option<Inbound> {
        let mut message = json!({
            "message_id": 5, "from": {"id": 7, "first_name": "Ann"}, "chat": {"id": if kind == "private" { 7 } else { -9 },
            "type": kind},
        });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let update = json!({"update_id": 3, "message": message, "whatever": 1});
        read(serde_json::from_value(update).unwrap(), &me())
    }

    #[test]
    fn what_is_said_to_the_bot_and_what_is_not() {
        for (kind, text, said) in [
            ("private", "hello", Some("hello")),
            ("private", "/help@openbot me", Some("/help me")),
            ("group", "hello", None),
            ("supergroup", "@OpenBot hello", Some("hello")),
            ("group", "@OpenBot, hello", Some("hello")),
            ("group", "hello @openbot!", Some("hello @openbot!")),
            ("group", "@ann ask @openbot", Some("@ann ask @openbot")),
            ("group", "hello @openbots", None),
            ("group", "/status", None),
            ("group", "/status@OpenBot", Some("/status")),
            ("group", "/status@other @openbot", None),
        ] {
            let inbound = message(kind, &json!({"text": text})).unwrap();
            assert_eq!(inbound.addressed, said.is_some(), "{text}");
            assert_eq!(inbound.place.reply_to.is_some(), kind != "private");
            if let Some(said) = said {
                assert_eq!(inbound.text, said);
            }
        }
        let answer = json!({"text": "yes", "reply_to_message": {"from": {"id": 666}, "chat": {"id": -9}}});
        assert!(message("group", &answer).unwrap().addressed);
    }

    #[test]
    fn nobody_says_anything() {
        for more in
            [json!({}), json!({"text": "  "}), json!({"text": "x", "from": {"id": 8, "is_bot": true}})]
        {
            assert_eq!(message("private", &more), None, "{more}");
        }
        assert_eq!(message("channel", &json!({"text": "x"})), None);
        assert_eq!(read(Update { update_id: 1, message: None }, &me()), None);
    }

    #[test]
    fn a_group_that_became_another_is_told_in_both() {
        let update =
            |message| moved(&Update { update_id: 1, message: serde_json::from_value(message).unwrap() });
        assert_eq!(update(json!({"chat": {"id": -5}, "migrate_to_chat_id": -1005})), Some((-5, -1005)));
        assert_eq!(update(json!({"chat": {"id": -1005}, "migrate_from_chat_id": -5})), Some((-5, -1005)));
        assert_eq!(update(json!({"chat": {"id": -5}, "text": "x"})), None);
    }

    #[test]
    fn names_cannot_mislead_and_files_are_found() {
        let odd = json!({"from": {"id": 7, "first_name": "\u{202e}A\nn<b>", "last_name": "x".repeat(100)}, "caption": "see",
            "photo": [{"file_id": "small"}, {"file_id": "large", "file_size": 9}]});
        let inbound = message("private", &odd).unwrap();
        assert!(inbound.sender.name.starts_with("An<b> xxx") && inbound.sender.name.chars().count() == NAME);
        assert_eq!(inbound.text, "see");
        let file = inbound.file.unwrap();
        assert_eq!((file.id.as_str(), file.name.as_str(), file.size), ("large", "photo.jpg", Some(9)));
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[@/a-zA-Z ,\\PC]{1,30}", group: bool) {
            let kind = if group { "group" } else { "private" };
            if let Some(inbound) = message(kind, &json!({"text": text})) {
                prop_assert!(text.contains(inbound.text.split_whitespace().next().unwrap_or_default()));
            }
        }
    }
}
