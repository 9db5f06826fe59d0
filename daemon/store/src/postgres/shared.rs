//! The statements that are the same for both databases.

// Who changes the row at this moment ends first, and nobody begins to before this transaction ends.
crate::shared::shared_statements!(" for update");
