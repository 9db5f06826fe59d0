//! Who leads an agent: its name runs in one place at a time, by the database's clock.

use std::time::Duration;

use openclaw_agent_api::AgentName;
use sqlx::postgres::PgConnection;

use crate::Error;
use crate::backend::Claimant;

/// An earlier life of this installation is no other: it is gone.
const CLAIM: &str =
    "insert into agent_state as s (agent_name, updated_at, lease_owner, lease_token, lease_until)
     values ($1, clock_timestamp(), $2, 1, clock_timestamp() + make_interval(secs => $4))
     on conflict (agent_name) do update set
       lease_owner = excluded.lease_owner, lease_token = s.lease_token + 1, lease_until = excluded.lease_until
     where s.lease_until is null or s.lease_until < clock_timestamp() or starts_with(s.lease_owner, $3)
     returning lease_token";

pub async fn claim(
    db: &mut PgConnection,
    agent: &AgentName,
    claimant: &Claimant,
    ttl: Duration,
) -> Result<Option<i64>, Error> {
    let claim = sqlx::query_scalar(CLAIM).bind(agent.as_str()).bind(claimant.owner());
    let claim = claim.bind(format!("{}/", claimant.installation)).bind(ttl.as_secs_f64());
    Ok(claim.fetch_optional(db).await?)
}

/// One that has run out and that nobody has taken is kept as well.
pub async fn renew(
    db: &mut PgConnection,
    agent: &AgentName,
    token: i64,
    ttl: Duration,
) -> Result<bool, Error> {
    let sql = "update agent_state set lease_until = clock_timestamp() + make_interval(secs => $3)
               where agent_name = $1 and lease_token = $2 and lease_until is not null";
    let renew = sqlx::query(sql).bind(agent.as_str()).bind(token).bind(ttl.as_secs_f64());
    Ok(renew.execute(db).await?.rows_affected() > 0)
}

pub async fn release(db: &mut PgConnection, agent: &AgentName, token: i64) -> Result<(), Error> {
    let sql = "update agent_state set lease_owner = null, lease_until = null
               where agent_name = $1 and lease_token = $2";
    sqlx::query(sql).bind(agent.as_str()).bind(token).execute(db).await?;
    Ok(())
}
