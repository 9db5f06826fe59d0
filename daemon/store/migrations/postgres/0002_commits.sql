-- What each writing daemon committed last: the proof that a commit which was not answered has happened. A transaction's
-- own number is none, since a server that crashes may give it to another one: see src/postgres/commit.rs.
create table commits (
    writer     uuid        primary key, -- one life of a daemon
    number     bigint      not null,
    written_at timestamptz not null
);
