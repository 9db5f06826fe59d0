//! Services beside the agents, a module each. They speak to the rest through store and bus alone, so that it makes no
//! difference which process each is in.

pub mod bridge;
