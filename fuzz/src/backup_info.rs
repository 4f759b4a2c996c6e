//! barman's documents: `backup.info`, the Python literals in it, its times, and the annotation that keeps a backup.

use jiff::tz::TimeZone;
use seawall::layout::barman::{BackupInfo, BackupTime, Keep, Literal};

pub fn run(bytes: &[u8]) {
    if let Ok(info) = BackupInfo::parse(bytes, &TimeZone::UTC) {
        let written = info.to_string();
        assert_eq!(BackupInfo::parse(written.as_bytes(), &TimeZone::UTC).unwrap().to_string(), written);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(value) = Literal::parse(text) {
            assert_eq!(Literal::parse(&value.to_string()).unwrap(), value);
        }
        if let Ok(time) = BackupTime::parse(text, &TimeZone::UTC) {
            assert_eq!(BackupTime::parse(&time.to_string(), &TimeZone::UTC).unwrap(), time);
        }
    }
    let _ = Keep::parse(bytes);
}
