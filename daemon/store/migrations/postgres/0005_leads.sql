-- How long a lead lasts after it was taken or renewed, in milliseconds: others wait for so long, by their own clocks.
alter table agent_state add column lease_ms bigint;
