//! Who leads an agent: its name runs in one place at a time, by the database's clock.

use std::time::Duration;

use openclaw_agent_api::AgentName;
use sqlx::postgres::PgConnection;

use crate::Error;
use crate::backend::{Claim, Claimant, Renewed};

/// An earlier life of this process is no other: it is gone. What has run out while the server was down may still be in
/// use: whoever had it has as long as a lease lasts to renew it once the server is up again, after a start as after a crash
/// of its own processes, which makes it gather statistics anew. A row that somebody holds is left alone: it must not keep
/// the others.
const CLAIM: &str = "with wanted as (
       select name from unnest($1::text[]) as name order by name
     ), free as (
       select s.agent_name from agent_state s join wanted on wanted.name = s.agent_name
       where s.lease_until is null or starts_with(s.lease_owner, $3)
          or greatest(s.lease_until, pg_postmaster_start_time() + make_interval(secs => $4),
               (select stats_reset from pg_stat_bgwriter) + make_interval(secs => $4)) < clock_timestamp()
       for update of s skip locked
     ), won as (
       insert into agent_state as s (agent_name, updated_at, lease_owner, lease_token, lease_until)
       select name, clock_timestamp(), $2, 1, clock_timestamp() + make_interval(secs => $4) from wanted
       where name in (select agent_name from free) or not exists (select from agent_state a where a.agent_name = name)
       on conflict (agent_name) do update set
         lease_owner = excluded.lease_owner, lease_token = s.lease_token + 1, lease_until = excluded.lease_until
       where s.agent_name in (select agent_name from free)
       returning s.agent_name, s.lease_token
     )
     select name, won.lease_token, s.lease_owner
       from wanted left join won on won.agent_name = name left join agent_state s on s.agent_name = name";

/// One that has run out and that nobody has taken is kept as well. Of one that somebody holds nothing is said.
const RENEW: &str = "with held as (
       select * from unnest($1::text[], $2::bigint[]) as held (name, token)
     ), free as (
       select s.agent_name from agent_state s join held on held.name = s.agent_name
       where s.lease_token = held.token and s.lease_until is not null
       for update of s skip locked
     ), kept as (
       update agent_state s set lease_until = clock_timestamp() + make_interval(secs => $3)
       from free where s.agent_name = free.agent_name returning s.agent_name
     )
     select name, kept.agent_name is not null, s.lease_token = token and s.lease_until is not null
       from held left join kept on kept.agent_name = name left join agent_state s on s.agent_name = name";

const RELEASE: &str = "update agent_state s set lease_owner = null, lease_until = null
       from unnest($1::text[], $2::bigint[]) as held (name, token)
      where s.agent_name = held.name and s.lease_token = held.token";

pub async fn claim(
    db: &mut PgConnection,
    agents: &[AgentName],
    claimant: &Claimant,
    ttl: Duration,
) -> Result<Vec<(AgentName, Claim)>, Error> {
    let claim = sqlx::query_as(CLAIM).bind(names(agents)).bind(claimant.owner());
    let claim = claim.bind(format!("{}/", claimant.installation)).bind(ttl.as_secs_f64());
    let rows: Vec<(String, Option<i64>, Option<String>)> = claim.fetch_all(db).await?;
    let claim = |(name, token, owner): (String, Option<i64>, Option<String>)| {
        let claim = match (token, owner) {
            (Some(token), _) => Claim::Won(token),
            (None, owner) => Claim::Lost(owner.unwrap_or_default()),
        };
        Some((name.parse().ok()?, claim))
    };
    Ok(rows.into_iter().filter_map(claim).collect())
}

pub async fn renew(
    db: &mut PgConnection,
    held: &[(AgentName, i64)],
    ttl: Duration,
) -> Result<Renewed, Error> {
    let (agents, tokens) = columns(held);
    let renew = sqlx::query_as(RENEW).bind(agents).bind(tokens).bind(ttl.as_secs_f64());
    let rows: Vec<(String, bool, Option<bool>)> = renew.fetch_all(db).await?;
    let mut renewed = Renewed::default();
    for (name, kept, ours) in rows {
        let Ok(name) = name.parse() else { continue };
        match (kept, ours) {
            (true, _) => renewed.kept.push(name),
            (false, Some(true)) => {}
            (false, _) => renewed.lost.push(name),
        }
    }
    Ok(renewed)
}

pub async fn release(db: &mut PgConnection, held: &[(AgentName, i64)]) -> Result<(), Error> {
    let (agents, tokens) = columns(held);
    sqlx::query(RELEASE).bind(agents).bind(tokens).execute(db).await?;
    Ok(())
}

fn names(agents: &[AgentName]) -> Vec<&str> {
    agents.iter().map(AgentName::as_str).collect()
}

fn columns(held: &[(AgentName, i64)]) -> (Vec<&str>, Vec<i64>) {
    held.iter().map(|(agent, token)| (agent.as_str(), *token)).unzip()
}
