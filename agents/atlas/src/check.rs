//! The scheduled check: look, compare with the last one, tell what is new, remember.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use openclaw_agent_api::chrono::{DateTime, Utc};
use openclaw_agent_api::context::CallErrorKind;
use openclaw_agent_api::prelude::*;
use serde::{Deserialize, Serialize};

use crate::Atlas;
use crate::findings::{Finding, Severity, findings};
use crate::seen::Seen;

/// Where the last check is in memory.
pub const KEY: &str = "last_check";

/// What a check leaves for the next one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastCheck {
    /// When it was made.
    pub at: DateTime<Utc>,
    /// What it found.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// How often each component had been restarted.
    #[serde(default)]
    pub restarts: BTreeMap<String, u64>,
}

impl Atlas {
    /// The check. Findings are told when they begin and when they end, not while they last.
    pub(crate) fn check(&self, ctx: &Context) -> Result<()> {
        let previous = self.last(ctx);
        let seen = Seen::look(ctx);
        let found = findings(&seen, previous.as_ref(), &self.thresholds);
        let restarts = match (&seen.status, &previous) {
            (Ok(status), _) => status.restarts(),
            (Err(_), previous) => previous.as_ref().map(|last| last.restarts.clone()).unwrap_or_default(),
        };
        let old = previous.map(|last| last.findings).unwrap_or_default();
        let check = LastCheck { at: ctx.now(), findings: found, restarts };

        tell(ctx, &check, &old);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(check.clone());
        ctx.memory().set(KEY, &check)?;
        Ok(())
    }

    /// The last check: this process's own, else the one that an earlier process left in memory.
    pub(crate) fn last(&self, ctx: &Context) -> Option<LastCheck> {
        let own = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        own.or_else(|| {
            ctx.memory().get(KEY).unwrap_or_else(|error| {
                ctx.warn(format!("checking without knowing the last check: {error}"));
                None
            })
        })
    }
}

fn tell(ctx: &Context, check: &LastCheck, old: &[Finding]) {
    let in_list = |list: &[Finding], finding: &Finding| list.iter().any(|other| other.is_same(finding));
    let new: Vec<_> = check.findings.iter().filter(|finding| !in_list(old, finding)).collect();
    let gone: Vec<_> = old.iter().filter(|finding| !in_list(&check.findings, finding)).collect();
    if new.is_empty() && gone.is_empty() {
        return;
    }
    for finding in &new {
        match finding.severity {
            Severity::Info => ctx.info(&finding.text),
            Severity::Warn => ctx.warn(&finding.text),
            Severity::Critical => ctx.warn(format!("critical: {}", finding.text)),
        }
    }
    for finding in &gone {
        ctx.info(format!("no longer: {}", finding.text));
    }
    let news = json!({"at": check.at, "findings": check.findings, "new": new, "gone": gone});
    match ctx.publish("atlas.findings", news) {
        // Publishing is extra: it may be neither granted nor configured.
        Err(e) if !matches!(e.kind, CallErrorKind::NotGranted | CallErrorKind::NotConfigured) => {
            ctx.warn(format!("these findings were not published: {e}"));
        }
        _ => {}
    }
}
