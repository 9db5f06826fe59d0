//! The shipped binary, tried from outside.

mod breaker;
mod configuration;
mod first;
mod full_disk;
mod grants;
mod groups;
mod messages;
mod misbehaviour;
mod printed;
mod refusals;
mod starts;
mod support;
