-- The newest alerts, whichever agent they are about.
create index agent_events_alerts on agent_events (id) where event_type = 'agent.alert';
