-- An agent that is led and of which nothing is known yet has no record, as on PostgreSQL.
create table agent_state_new (
    agent_name  text primary key,
    record      text,
    updated_at  text not null,
    lease_owner text,
    lease_token integer not null default 0,
    lease_until text
) without rowid;
insert into agent_state_new select agent_name, record, updated_at, lease_owner, lease_token, lease_until from agent_state;
drop table agent_state;
alter table agent_state_new rename to agent_state;
