//! The shipped binary, tried from outside.

mod first;
