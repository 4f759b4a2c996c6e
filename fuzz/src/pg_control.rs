//! The control file of a cluster.

use seawall::pg::ControlFile;

pub fn run(bytes: &[u8]) {
    let _ = ControlFile::parse(bytes);
}
