use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output, Stdio};

use openclaw_agent_api::abi::methods;
use openclaw_agent_api::agent::ErrorClass;
use openclaw_agent_api::context::{CallError, CallErrorKind};
use openclaw_agent_api::testkit::{TestAgent, TestHost};

use super::*;

fn agent() -> TestAgent<Misbehaving> {
    TestAgent::new(json!({"greeting": "hello"})).unwrap()
}

fn said(text: &str) -> String {
    agent().send(text).unwrap().text
}

#[test]
fn what_replies_replies() {
    assert_eq!(said("echo a  b"), "a  b");
    assert_eq!(said("echo"), "");
    assert_eq!(said("greet"), "hello");
    assert_eq!(said("sleep 1 late"), "late");
    assert_eq!(said("big 5"), "xxxxx");
}

#[test]
fn what_fails_fails_as_told() {
    for (text, class, message) in [
        ("error no luck", ErrorClass::Failed, "no luck"),
        ("invalid your mistake", ErrorClass::Invalid, "your mistake"),
        ("sleep soon x", ErrorClass::Invalid, "`soon` is no number that fits"),
        ("dance", ErrorClass::Invalid, "`dance` is nothing this agent can do"),
    ] {
        assert_eq!(agent().send(text).unwrap_err(), AgentError { class, message: message.into() });
    }
    let error = agent().send("panic at the disco").unwrap_err();
    assert!(error.class == ErrorClass::Panic && error.message.contains("at the disco"), "{error}");
}

#[test]
fn effects_are_counted_in_a_file() {
    let path = std::env::temp_dir().join(format!("misbehaving-{}", std::process::id()));
    let shown = path.to_str().unwrap();
    assert_eq!(said(&format!("append {shown} one line")), "appended");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one line\n");
    assert_eq!(agent().send(&format!("fail-until {shown} 3")).unwrap_err().message, "2 of 3 tries");
    assert_eq!(said(&format!("fail-until {shown} 3")), "done after 3 tries");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(agent().send(&format!("insist {shown} 2 a")).unwrap_err().message, "1 of 2 tries");
    assert_eq!(said(&format!("insist {shown} 1 b")), "done after 1 tries");
    assert_eq!(said(&format!("insist {shown} 2 a")), "done after 2 tries");
    assert_eq!(said(&format!("span {shown} 1 c")), "c");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\na\nc(\nc)\n");
    assert_eq!(said(&format!("linger {shown} 3600000")), "gone");
    assert_eq!(said(&format!("meet {shown} 7")), "met");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn calls_are_passed_on() {
    assert_eq!(said(r#"call memory.get {"key":"k"}"#), "null");
    let refused: Value = serde_json::from_str(&said("call ask")).unwrap();
    assert_eq!(refused["kind"], "not_configured");
    let host = TestHost::default().answer(methods::TASK_RUN, json!({"text": "pong"}));
    let answering = TestAgent::<Misbehaving>::with_host(json!({}), host).unwrap();
    assert_eq!(answering.send("run atlas ping").unwrap().text, "pong");
    answering.send("hand scout look here").unwrap();
    assert_eq!(answering.follow_ups()[0].text, "look here");
    let error = CallError::new(CallErrorKind::Failed, "too slow");
    let failing =
        TestAgent::<Misbehaving>::with_host(json!({}), TestHost::default().fail(methods::TASK_RUN, error))
            .unwrap();
    assert_eq!(failing.send("run atlas ping").unwrap_err(), AgentError::failed("too slow"));
}

#[test]
fn noise_is_never_text() {
    for bytes in [1, 2, 999, 1000] {
        let noise = output::noise(bytes);
        assert_eq!(noise.len(), bytes);
        assert!(std::str::from_utf8(&noise).is_err());
    }
    assert!(output::noise(1000).contains(&b'\n') && !output::noise(999).contains(&b'\n'));
}

#[test]
fn settings_fit_the_schema() {
    assert_eq!(serde_json::from_value::<Settings>(json!({"start": "hang"})).unwrap().start, Start::Hang);
    for bad in [json!({"start": "maybe"}), json!({"greetings": "x"})] {
        assert!(TestAgent::<Misbehaving>::new(bad).is_err());
    }
}

/// The variable that makes [`child`] do something.
const TOLD: &str = "MISBEHAVING_TOLD";

/// Not a test by itself: [`in_a_child`] runs this program again with only this test, told what to do.
#[test]
fn child() {
    let Ok(text) = std::env::var(TOLD) else { return };
    match text.strip_prefix("start ") {
        Some(how) => {
            let settings = json!({"start": how});
            let agent = Misbehaving::create(settings).unwrap();
            agent.start(&Context::new(&TestHost::default(), None)).unwrap();
        }
        None => {
            agent().send(&text).unwrap();
        }
    }
}

fn in_a_child(text: &str) -> Output {
    // With a limit on the address space: `eat` must not find this machine's.
    Command::new("sh")
        .args([
            "-c",
            "ulimit -c 0; ulimit -v 400000; exec \"$0\" --exact tests::child --nocapture --test-threads 1",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(TOLD, text)
        .stdin(Stdio::piped())
        .output()
        .unwrap()
}

#[test]
fn what_ends_the_process_ends_it_so() {
    const SIGABRT: i32 = 6;
    const SIGSEGV: i32 = 11;
    for (text, signal) in
        [("abort", SIGABRT), ("segfault", SIGSEGV), ("eat", SIGABRT), ("start segfault", SIGSEGV)]
    {
        assert_eq!(in_a_child(text).status.signal(), Some(signal), "{text}");
    }
    let eaten = String::from_utf8_lossy(&in_a_child("eat").stderr).into_owned();
    assert!(eaten.contains("memory allocation of 1048576 bytes failed"), "{eaten}");
    for (text, status) in [("exit 7", 7), ("exit 0", 0), ("start exit", 3), ("start ok", 0), ("closefd", 0)] {
        assert_eq!(in_a_child(text).status.code(), Some(status), "{text}");
    }
    for text in ["start panic", "start error"] {
        assert!(!in_a_child(text).status.success(), "{text}");
    }
}

#[test]
fn output_goes_where_it_should() {
    let flood = in_a_child("flood 300");
    assert_eq!(String::from_utf8_lossy(&flood.stderr).matches("flood line ").count(), 300);
    let garbage = in_a_child("garbage 500");
    let noise = output::noise(500);
    assert!(garbage.stdout.windows(500).any(|part| part == noise));
}

#[test]
fn a_fork_outlives_its_handler() {
    let mut left = effects::fork().unwrap();
    let ended = left.try_wait();
    // Before anything can fail: a child that is left behind would hold this test's output open.
    left.kill().unwrap();
    assert!(ended.unwrap().is_none());
    assert_eq!(left.wait().unwrap().signal(), Some(9));
}
