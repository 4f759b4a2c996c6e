//! The tar reader: no name leads out of the directory, and no content is longer than its header says.

use std::io::Read;
use std::path::Component;

use seawall::tarball::{ReadError, read_members};

pub fn run(bytes: &[u8]) {
    let _ = read_members(bytes, |member| {
        assert!(member.path.components().all(|component| matches!(component, Component::Normal(_))));
        let size = member.size_bytes;
        let mut content = Vec::new();
        member.read_to_end(&mut content).map_err(ReadError::Archive)?;
        assert_eq!(content.len() as u64, size);
        Ok::<_, ReadError>(())
    });
}
