//! Configuration files, in each of their formats.

use std::fs;

use seawall::settings::file;

pub fn run(bytes: &[u8]) {
    let directory = std::env::temp_dir().join(format!("seawall-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    for extension in ["json", "yaml", "toml", "env"] {
        let path = directory.join("walg").with_extension(extension);
        fs::write(&path, bytes).unwrap();
        let _ = file::read(&path);
    }
}
