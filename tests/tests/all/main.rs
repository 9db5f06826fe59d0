//! The shipped binary, tried from outside.

mod chaos;
mod first;
mod order;
mod outside;
mod queue;
mod schedule;
mod stop;
