//! What the daemon tells of itself.

use async_trait::async_trait;

use crate::status::Document;

/// Who can tell how the whole stands.
#[async_trait]
pub trait Whole: Send + Sync + 'static {
    /// This process as it stands; else why that cannot be told.
    async fn document(&self) -> Result<Document, String>;

    /// The home as it stands: this process and every other one of it.
    async fn home(&self) -> Result<Document, String>;
}
