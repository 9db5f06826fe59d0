//! Which agents' names this process leads.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use openclaw_agent_api::AgentName;

use super::Store;
use crate::Error;
use crate::backend::{Claim, Renewed};

impl Store {
    /// Takes the leads of these agents' names for `ttl`, where no other process has them. Where one process alone has the
    /// database it always succeeds.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Down`], [`Error::Database`]. Cancelled, it may have been done.
    pub async fn claim_agents(
        &self,
        agents: &[AgentName],
        ttl: Duration,
    ) -> Result<Vec<(AgentName, Claim)>, Error> {
        let claims = self.backend.claim_agents(agents, &self.claimant, ttl).await?;
        let mut leads = self.leads();
        for (agent, claim) in &claims {
            if let Claim::Won(token) = claim {
                leads.insert(agent.clone(), *token);
            }
        }
        drop(leads);
        Ok(claims)
    }

    /// Keeps leads for another `ttl`. Those that are lost must not run here.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Database`]: they may be lost. [`Error::Down`]: nobody can have taken them.
    pub async fn renew_agents(&self, held: &[(AgentName, i64)], ttl: Duration) -> Result<Renewed, Error> {
        self.backend.renew_agents(held, &self.claimant, ttl).await
    }

    /// Which of these somebody leads now, here or in another process, or did within `lately`.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Down`], [`Error::Database`].
    pub async fn led(&self, agents: &[AgentName], lately: Duration) -> Result<Vec<AgentName>, Error> {
        self.look_up(self.backend.led(agents, lately)).await
    }

    /// Gives leads back, so that another process need not wait for their end. Nothing happens where they are lost.
    ///
    /// # Errors
    /// [`Error::Away`], [`Error::Down`], [`Error::Database`]: they end with their time.
    pub async fn release_agents(&self, held: &[(AgentName, i64)]) -> Result<(), Error> {
        self.backend.release_agents(held, &self.claimant).await
    }

    /// Gives back the lead of a name that this process claimed last, if it has it.
    ///
    /// # Errors
    /// As [`release_agents`](Self::release_agents).
    pub async fn give_back(&self, name: &AgentName) -> Result<(), Error> {
        let held = self.leads().remove(name);
        match held {
            Some(token) => self.release_agents(&[(name.clone(), token)]).await,
            None => Ok(()),
        }
    }

    pub(super) fn leads(&self) -> MutexGuard<'_, HashMap<AgentName, i64>> {
        // Each change is one insertion, so a poisoned lock is still good.
        self.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
