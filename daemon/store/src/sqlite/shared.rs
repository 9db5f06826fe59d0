//! The statements that are the same for both databases.

// A transaction that writes has the whole database.
crate::shared::shared_statements!("");
