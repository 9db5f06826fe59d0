-- What agents asked for, by day: how often, and what came of it.

create table agent_calls (
    day     text    not null, -- 2026-11-28, UTC
    agent   text    not null,
    method  text    not null,
    outcome text    not null, -- ok, failed, or why it was refused
    count   integer not null,
    primary key (day, agent, method, outcome)
) without rowid;
