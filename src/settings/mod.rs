//! Settings: one table of names, and for each the value that counts and where it was set.
//!
//! Sources in order: flag, environment, configuration file, default. Nothing below `cli` reads the environment.

mod codec;
mod error;
pub mod file;
pub mod keys;
mod resolve;
mod storage;
pub mod value;

pub use error::Error;
pub use keys::{Key, Section, Status, Visibility};
pub use resolve::{Environment, Settings, Source, Sourced, Sources, user_home};
