-- An alert is one row from its first occurrence until it is over. Nothing has written the table of before.
drop table alerts;
create table alerts (
    id           integer primary key autoincrement,
    source       text    not null,                -- about whom
    severity     text    not null,
    title        text    not null,                -- what happened, in a sentence
    detail       text    not null default '{}',   -- what the operator was told so far
    dedupe_key   text    not null,                -- the fingerprint: one open row each
    count        integer not null,                -- occurrences
    revision     integer not null default 0,      -- changes of it, but for occurrences
    created_at   text    not null,
    last_at      text    not null,                -- the last occurrence
    due_at       text,                            -- when it is to be looked at next
    acked_at     text,
    acked_by     text,
    message_id   text,                            -- the task of the first message about it
    delivered_at text,
    resolved_at  text,
    resolution   text                             -- how it ended, in a sentence
);
create unique index alerts_open on alerts (dedupe_key) where resolved_at is null;
create index alerts_last on alerts (last_at);
create index alerts_due on alerts (due_at) where due_at is not null;
create index alerts_undelivered on alerts (id) where delivered_at is null and message_id is not null;
create index alerts_resolved on alerts (resolved_at) where resolved_at is not null;
-- The alerts that are shown are these rows.
drop index agent_events_alerts;
