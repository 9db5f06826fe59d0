//! What the daemon tells of itself.

use async_trait::async_trait;

use crate::status::Document;

/// Who can tell how the whole stands.
#[async_trait]
pub trait Whole: Send + Sync + 'static {
    /// The whole as it stands; else why that cannot be told.
    async fn document(&self) -> Result<Document, String>;
}
