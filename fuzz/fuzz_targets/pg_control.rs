//! The control file of a cluster.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seawall::pg::ControlFile;

fuzz_target!(|bytes: &[u8]| {
    let _ = ControlFile::parse(bytes);
});
