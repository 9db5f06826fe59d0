//! The door through which agents ask for things. The supervisor keeps the door; who stands behind it is the binary's
//! choice.

use std::sync::Arc;

use async_trait::async_trait;
use openclaw_agent_api::AgentName;
use openclaw_agent_api::context::CallError;
use serde_json::Value;

/// Carries out what agents are granted.
#[async_trait]
pub trait Capabilities: Send + Sync + 'static {
    /// Carries out `method`; the grant has been checked.
    async fn call(&self, agent: &AgentName, method: &str, payload: Value) -> Result<Value, CallError>;
}

/// As it is passed around.
pub type SharedCapabilities = Arc<dyn Capabilities>;
