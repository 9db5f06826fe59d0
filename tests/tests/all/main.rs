//! The shipped binary, tried from outside.

mod breaker;
mod chaos;
mod configuration;
mod database;
mod first;
mod full_disk;
mod grants;
mod groups;
mod http;
mod leads;
mod messages;
mod misbehaviour;
mod order;
mod outside;
mod printed;
mod queue;
mod redis;
mod refusals;
mod reload;
mod sandbox;
mod schedule;
mod starts;
mod stop;
mod support;
mod telegram;
