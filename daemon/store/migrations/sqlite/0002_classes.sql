-- Ended tasks are pruned by class, so that successes push out neither dead letters nor dedupe keys. Each ended row is in
-- one of the three, as it was in the one index that they replace. With `state` and `dedupe_key` in them, what is to be
-- pruned is found without a look at the rows.

drop index task_queue_finished;
create index task_queue_ended on task_queue (finished_at, state, dedupe_key)
    where finished_at is not null and dedupe_key is null and state <> 'failed';
create index task_queue_ended_keyed on task_queue (finished_at, state, dedupe_key)
    where finished_at is not null and dedupe_key is not null and state <> 'failed';
create index task_queue_ended_failed on task_queue (finished_at, state) where state = 'failed';

-- The newest turns of an agent, whatever the conversation.
create index agent_turns_agent on agent_turns (agent_name, id);
