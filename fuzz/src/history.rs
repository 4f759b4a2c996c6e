//! A timeline history file.

use seawall::pg::{TimelineHistory, TimelineId};

pub fn run(bytes: &[u8]) {
    let timeline = TimelineId::new(3).unwrap();
    if let Ok(history) = TimelineHistory::parse(timeline, bytes) {
        assert_eq!(history.timeline(), timeline);
        for entry in history.entries() {
            assert_eq!(history.switch_point(entry.timeline), Some(entry.switch_lsn));
        }
    }
}
