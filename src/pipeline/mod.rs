//! Blocking codec threads on one side, asynchronous objects on the other.
//!
//! ```text
//!  codec thread                                         tokio
//!  file → tar → compress → encrypt → PartSink --(1)--> put_object --+--> put_part 1
//!                                      ^  takes a buffer             +--> put_part 2 …
//!                                      +------- PartPool <------- freed with the receipt
//!
//!  files ← tar ← decompress ← decrypt ← ObjectReader <--(8)-- one resuming get
//! ```
//!
//! Bytes cross a thread once, as a full part. Whoever needs a buffer waits for one: that wait is the backpressure
//! from the network to the disk, and the pool's size bounds the memory whatever the size of the cluster.

mod object_get;
mod object_put;
mod part_pool;
mod rate;
mod threads;

pub use object_get::{ObjectReader, open_object};
pub use object_put::{Existing, ObjectWriter, PutError, Stored, UploadSettings};
pub use part_pool::PartPool;
pub use rate::RateLimit;
pub use threads::{Panicked, run_blocking};
