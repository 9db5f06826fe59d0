//! A well-behaved agent, but for its name: the file is `impostor`, the manifest says `somebody-else`.

use openclaw_agent_api::prelude::*;

/// The agent.
pub struct Impostor;

impl Agent for Impostor {
    fn describe() -> Manifest {
        Manifest::new("Has another agent's name.").named("somebody-else")
    }

    fn create(_settings: Value) -> Result<Self> {
        Ok(Impostor)
    }

    fn handle(&self, _ctx: &Context, message: &Message) -> Result<Reply> {
        Ok(Reply::text(format!("impostor: {}", message.text)))
    }
}

export_agent!(Impostor);

#[cfg(test)]
mod tests {
    use super::*;
    use openclaw_agent_api::testkit::TestAgent;

    #[test]
    fn its_manifest_has_another_name_than_its_file() {
        let agent = TestAgent::<Impostor>::new(json!({})).unwrap();
        assert_eq!(agent.manifest().name, "somebody-else");
        assert_ne!(agent.manifest().name, env!("CARGO_PKG_NAME"));
        assert_eq!(agent.send("hi").unwrap().text, "impostor: hi");
    }
}
