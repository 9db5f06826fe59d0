-- As on PostgreSQL: how long a lead lasts.
alter table agent_state add column lease_ms integer;
