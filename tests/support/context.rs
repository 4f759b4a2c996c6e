//! What an operation works with, for tests that call it in their own process.

use seawall::codec::{Cipher, Compression};
use seawall::layout::Layout;
use seawall::ops::Context;
use seawall::progress::Progress;
use seawall::storage::SharedStorage;
use tokio_util::sync::CancellationToken;

/// As without any settings: nothing is encrypted.
pub fn context(storage: SharedStorage, layout: &'static dyn Layout) -> Context {
    Context {
        storage,
        layout,
        compression: Compression::default(),
        cipher: Cipher::None,
        cancel: CancellationToken::new(),
        progress: Progress::new(),
    }
}
