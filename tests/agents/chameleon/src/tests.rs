use openclaw_agent_api::testkit::TestAgent;

use super::*;

fn agent(behaviour: Behaviour) -> Chameleon {
    Chameleon { version: 7, behaviour, counts: Mutex::default() }
}

#[test]
fn as_compiled_it_is_version_0_and_good() {
    assert_eq!(identity(), (0, Some(Behaviour::Good)));
    let agent = TestAgent::<Chameleon>::new(json!({})).unwrap();
    assert_eq!(agent.manifest().description, "Version 0, Good.");
    assert_eq!(agent.manifest().name, "chameleon");
    for (text, said) in [
        ("echo a  b", "v0 a  b"),
        ("count a", "v0 1"),
        ("count a", "v0 2"),
        ("count b", "v0 1"),
        ("total", "v0 3"),
        ("die", "v0 lives"),
    ] {
        assert_eq!(agent.send(text).unwrap().text, said, "{text}");
    }
    assert!(agent.send("dance").is_err());
}

#[test]
fn its_counts_go_to_a_successor() {
    let old = agent(Behaviour::Good);
    assert_eq!((old.count("a"), old.count("a"), old.count("b")), (1, 2, 1));
    let new = agent(Behaviour::Good);
    new.restore(old.snapshot().unwrap()).unwrap();
    assert_eq!((new.count("a"), new.count("b"), new.count("c")), (3, 2, 1));
    assert!(new.restore(json!({"other": 1})).is_err());
    assert!(agent(Behaviour::SnapshotFails).snapshot().is_err());
    assert!(agent(Behaviour::RestoreRefuses).restore(old.snapshot().unwrap()).is_err());
}

#[test]
fn effects_are_lines_of_a_file() {
    let path = std::env::temp_dir().join(format!("chameleon-{}", std::process::id()));
    let agent = TestAgent::<Chameleon>::new(json!({})).unwrap();
    let shown = path.display();
    assert_eq!(agent.send(&format!("append {shown} one line")).unwrap().text, "v0 appended");
    assert_eq!(agent.send(&format!("hold {shown}")).unwrap().text, "v0 held");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one line\n");
    std::fs::remove_file(&path).unwrap();
}
