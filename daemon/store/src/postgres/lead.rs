//! Who leads an agent: its name runs in one place at a time. `lease_until` is for people: no clock of the server decides.

use std::time::Duration;

use openclaw_agent_api::AgentName;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::sightings::Sightings;
use crate::Error;
use crate::backend::{Claim, Claimant, Renewed};

/// An earlier life of this process is no other: it is gone. What another has is taken where it stands as it was seen for as
/// long as it lasts: [`Sightings`]. What its leader could not renew while the server was down may still be in use: so a start
/// of the server is part of what is seen, and a crash of its own processes, which makes it gather statistics anew. A row that
/// somebody holds is left alone: it must not keep the others.
const CLAIM: &str = "with server as (
       select concat_ws(' ', pg_postmaster_start_time(), (select stats_reset from pg_stat_bgwriter)) as start
     ), wanted as (
       select name, seen from unnest($1::text[], $5::text[]) as w (name, seen) order by name
     ), free as (
       select s.agent_name from agent_state s join wanted on wanted.name = s.agent_name cross join server
       where s.lease_until is null or starts_with(s.lease_owner, $3)
          or concat_ws(' ', s.lease_token, s.lease_owner, s.lease_until, server.start) = wanted.seen
       for update of s skip locked
     ), won as (
       insert into agent_state as s (agent_name, updated_at, lease_owner, lease_token, lease_until, lease_ms)
       select name, clock_timestamp(), $2, 1, clock_timestamp() + $4 * interval '1 ms', $4 from wanted
       where name in (select agent_name from free) or not exists (select from agent_state a where a.agent_name = name)
       on conflict (agent_name) do update set
         lease_owner = excluded.lease_owner, lease_token = s.lease_token + 1, lease_until = excluded.lease_until,
         lease_ms = excluded.lease_ms
       where s.agent_name in (select agent_name from free)
       returning s.agent_name, s.lease_token
     )
     select name, won.lease_token, coalesce(s.lease_owner, ''), coalesce(s.lease_ms, $4),
            concat_ws(' ', s.lease_token, s.lease_owner, s.lease_until, server.start)
       from wanted cross join server
         left join won on won.agent_name = name left join agent_state s on s.agent_name = name";

/// One that has run out and that nobody has taken is kept as well. A database that was put back to an earlier state may give
/// one token twice, so its owner is looked at too. Of one that somebody holds nothing is said.
const RENEW: &str = "with held as (
       select * from unnest($1::text[], $2::bigint[]) as held (name, token)
     ), free as (
       select s.agent_name from agent_state s join held on held.name = s.agent_name
       where s.lease_token = held.token and s.lease_owner = $4
       for update of s skip locked
     ), kept as (
       update agent_state s set lease_until = clock_timestamp() + $3 * interval '1 ms', lease_ms = $3
       from free where s.agent_name = free.agent_name returning s.agent_name
     )
     select name, kept.agent_name is not null, s.lease_token = token and s.lease_owner = $4
       from held left join kept on kept.agent_name = name left join agent_state s on s.agent_name = name";

const RELEASE: &str = "update agent_state s set lease_owner = null, lease_until = null
       from unnest($1::text[], $2::bigint[]) as held (name, token)
      where s.agent_name = held.name and s.lease_token = held.token and s.lease_owner = $3";

pub async fn claim(
    db: &mut PgConnection,
    sightings: &mut Sightings,
    agents: &[AgentName],
    claimant: &Claimant,
    ttl: Duration,
) -> Result<Vec<(AgentName, Claim)>, Error> {
    let asked = Instant::now();
    let seen: Vec<_> = agents.iter().map(|agent| sightings.run_out(agent, asked)).collect();
    let claim = sqlx::query_as(CLAIM).bind(names(agents)).bind(claimant.owner());
    let claim = claim.bind(format!("{}/", claimant.installation)).bind(millis(ttl)).bind(seen);
    let rows: Vec<(String, Option<i64>, String, i64, String)> = claim.fetch_all(db).await?;
    let answered = Instant::now();
    let claim = |(name, token, owner, lasts, mark): (String, Option<i64>, String, i64, String)| {
        let name = name.parse().ok()?;
        let claim = match token {
            Some(token) => {
                sightings.forget(&name);
                Claim::Won(token)
            }
            None => {
                let lasts = Duration::from_millis(u64::try_from(lasts).unwrap_or_default());
                Claim::Lost { owner, free_in: sightings.saw(&name, mark, lasts, answered) }
            }
        };
        Some((name, claim))
    };
    Ok(rows.into_iter().filter_map(claim).collect())
}

pub async fn renew(
    db: &mut PgConnection,
    held: &[(AgentName, i64)],
    claimant: &Claimant,
    ttl: Duration,
) -> Result<Renewed, Error> {
    let (agents, tokens) = columns(held);
    let renew = sqlx::query_as(RENEW).bind(agents).bind(tokens).bind(millis(ttl)).bind(claimant.owner());
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

pub async fn release(
    db: &mut PgConnection,
    held: &[(AgentName, i64)],
    claimant: &Claimant,
) -> Result<(), Error> {
    let (agents, tokens) = columns(held);
    sqlx::query(RELEASE).bind(agents).bind(tokens).bind(claimant.owner()).execute(db).await?;
    Ok(())
}

fn millis(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
}

fn names(agents: &[AgentName]) -> Vec<&str> {
    agents.iter().map(AgentName::as_str).collect()
}

fn columns(held: &[(AgentName, i64)]) -> (Vec<&str>, Vec<i64>) {
    held.iter().map(|(agent, token)| (agent.as_str(), *token)).unzip()
}
