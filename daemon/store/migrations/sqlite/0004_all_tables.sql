-- The tables of later versions, so that every outside tool finds the same names, and the lead of an agent's name (which
-- on this database is always ours).

alter table agent_state add column lease_owner text;
alter table agent_state add column lease_token integer not null default 0;
alter table agent_state add column lease_until text;

create table agent_heartbeats (
    id         integer primary key autoincrement,
    agent_name text    not null,
    status     text    not null,
    metadata   text    not null default '{}',
    created_at text    not null
);
create index agent_heartbeats_agent on agent_heartbeats (agent_name, id);

create table ops_missions (
    id          text primary key,
    title       text not null,
    status      text not null,
    agent       text,
    proposal    text not null default '{}',
    result      text,
    created_at  text not null,
    updated_at  text not null,
    finished_at text
) without rowid;
create index ops_missions_status on ops_missions (status, created_at);

create table ops_mission_steps (
    id          text primary key,
    mission_id  text    not null references ops_missions (id) on delete cascade,
    position    integer not null,
    kind        text    not null,
    status      text    not null,
    agent       text,
    task_id     text,
    payload     text    not null default '{}',
    result      text,
    error       text,
    created_at  text    not null,
    updated_at  text    not null,
    finished_at text,
    unique (mission_id, position)
) without rowid;

create table ops_policy (
    key        text primary key,
    value      text not null,
    updated_at text not null
) without rowid;

create table ops_reaction_rules (
    id         integer primary key autoincrement,
    name       text    not null unique,
    enabled    integer not null default 1,
    trigger    text    not null,
    action     text    not null,
    created_at text    not null,
    updated_at text    not null
);

create table ops_agent_events (
    id         integer primary key autoincrement,
    agent      text    not null,
    kind       text    not null,
    title      text    not null,
    summary    text,
    tags       text    not null default '[]',
    metadata   text    not null default '{}',
    created_at text    not null
);
create index ops_agent_events_kind on ops_agent_events (kind, id);

create table alerts (
    id           integer primary key autoincrement,
    source       text    not null,
    severity     text    not null,
    title        text    not null,
    detail       text    not null default '{}',
    dedupe_key   text,
    created_at   text    not null,
    delivered_at text,
    resolved_at  text
);
create index alerts_undelivered on alerts (id) where delivered_at is null;
