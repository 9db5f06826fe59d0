-- What agents may use up, and the calls to providers that used it.

create table provider_budgets (
    budget     text    not null,
    period     text    not null,           -- 2026-11-28 or 2026-11, UTC
    used       integer not null default 0, -- requests, or millionths of a USD
    reserved   integer not null default 0, -- by calls that are under way
    told       integer not null default 0, -- the per cent of which somebody was told
    updated_at text    not null,
    primary key (budget, period)
) without rowid;

create table provider_calls (
    id          integer primary key autoincrement,
    call_id     text    not null unique,
    agent       text    not null,
    capability  text    not null, -- ask, search, fetch
    provider    text    not null,
    model       text,
    tokens_in   integer not null default 0,
    tokens_out  integer not null default 0,
    cost        integer not null default 0, -- millionths of a USD
    duration_ms integer not null,
    outcome     text    not null,
    detail      text,
    created_at  text    not null
);
