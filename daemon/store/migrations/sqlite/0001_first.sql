-- Times are RFC 3339 UTC with six decimals, so that text order is time order. Documents are JSON text.

create table task_queue (
    seq          integer primary key autoincrement, -- the order within a session
    id           text    not null unique,           -- UUID v7
    queue        text    not null,                  -- the agent
    kind         text    not null,
    payload      text    not null,
    session      text,
    dedupe_key   text,
    priority     integer not null default 0,        -- higher first
    state        text    not null check (state in ('queued', 'leased', 'done', 'failed', 'cancelled')),
    blocked      integer not null default 0,        -- an earlier task of its session has not ended
    attempts     integer not null default 0,
    max_attempts integer not null,
    run_at       text    not null,
    lease_owner  text,
    lease_token  integer not null default 0,        -- the fencing token: one more at each claim
    lease_until  text,
    result       text,
    error        text,
    source       text    not null,
    created_at   text    not null,
    updated_at   text    not null,
    finished_at  text
);

create unique index task_queue_dedupe on task_queue (queue, dedupe_key) where dedupe_key is not null;
create index task_queue_claimable on task_queue (queue, priority desc, seq) where state = 'queued' and blocked = 0;
create index task_queue_due on task_queue (run_at, queue) where state = 'queued';
create index task_queue_session on task_queue (queue, session, seq)
    where session is not null and state in ('queued', 'leased');
create index task_queue_leases on task_queue (lease_until) where state = 'leased';
create index task_queue_failed on task_queue (queue) where state = 'failed';
create index task_queue_finished on task_queue (finished_at) where finished_at is not null;

create table ops_outcomes (
    id          integer primary key autoincrement,
    agent       text    not null,
    kind        text    not null,
    mission_id  text,
    step_id     text,
    task_id     text    not null,
    success     integer not null,
    duration_ms integer not null,
    attempts    integer not null,
    cost        real,
    detail      text,
    created_at  text    not null
);

create table agent_events (
    id         integer primary key autoincrement,
    agent_name text    not null,
    event_type text    not null,
    payload    text    not null,
    created_at text    not null
);

create index agent_events_history on agent_events (agent_name, id) where event_type = 'agent.transition';

-- What a supervisor knows of an agent: it outlives the agent's process and the daemon's.
create table agent_state (
    agent_name text primary key,
    record     text not null,
    updated_at text not null
) without rowid;

create table agent_memory (
    agent_name text not null,
    key        text not null,
    value      text not null,
    updated_at text not null,
    primary key (agent_name, key)
) without rowid;

create table agent_turns (
    id         integer primary key autoincrement,
    agent_name text not null,
    session    text not null,
    role       text not null,
    text       text not null,
    created_at text not null
);

create index agent_turns_session on agent_turns (agent_name, session, id);

-- One row: the last proof that this database can be written.
create table proof (
    id        integer primary key check (id = 1),
    written_at text not null
);
