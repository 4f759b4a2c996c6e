//! What libpq reads to find a server: connection strings, the password file, the service file.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use seawall::pg::connection_string::Keywords;
use seawall::pg::{ConnInfo, SslMode};

pub fn run(bytes: &[u8]) {
    let directory = std::env::temp_dir().join(format!("seawall-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("connection");
    fs::write(&file, bytes).unwrap();
    // As libpq, a password file that others can read is passed over.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let path = file.to_str().unwrap();
    // Certificates are another subject, and loading them takes its time.
    let plain = |keywords: Keywords| keywords.with("sslmode", "disable").with("passfile", path);

    let text = String::from_utf8_lossy(bytes);
    let _ = text.parse::<SslMode>();
    if let Ok(keywords) = Keywords::parse(&text) {
        let _ = ConnInfo::new(plain(keywords), &|_| None);
    }
    let service =
        text.lines().find_map(|line| line.trim().strip_prefix('[')?.strip_suffix(']')).unwrap_or("service");
    let _ = ConnInfo::new(plain(Keywords::default()), &|name| match name {
        "PGSERVICE" => Some(service.to_owned()),
        "PGSERVICEFILE" => Some(path.to_owned()),
        "PGHOST" => Some("localhost,127.0.0.1".to_owned()),
        _ => None,
    });
}
