//! The policy's examples, told as [`Story`]s, and its properties.

mod breaker;
mod parts;
mod random;
mod reload;
mod restarts;
mod restored;
mod stops;
mod story;

use story::*;
