//! Timelines and the history files that join them.
//!
//! Each recovery that ends by promotion starts a new timeline and writes `<timeline>.history`: one line for each
//! ancestor, oldest first, with the LSN at which that ancestor was left.
//!
//! ```text
//! 1<TAB>0/3000060<TAB>no recovery target specified
//! <blank>
//! 2<TAB>0/40000A0<TAB>before 2026-11-21 04:00:00+00
//! ```
//!
//! Source: `access/transam/timeline.c`, `readTimeLineHistory` (rules), `writeTimeLineHistory` (text),
//! `tliOfPointInHistory` (which timeline holds an LSN).

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use super::lsn::parse_hex32;
use super::{Lsn, ParseError};

/// The number of a timeline; 1 is the one `initdb` starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimelineId(NonZeroU32);

impl TimelineId {
    /// The timeline of a cluster that was never promoted.
    pub const FIRST: TimelineId = TimelineId(NonZeroU32::MIN);

    /// The timeline with this number; `None` for 0, which PostgreSQL uses for "no timeline".
    pub fn new(number: u32) -> Option<TimelineId> {
        NonZeroU32::new(number).map(TimelineId)
    }

    /// The number itself.
    pub const fn as_u32(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for TimelineId {
    type Err = ParseError;

    /// Reads a decimal number, as in SQL and in history files; file names hold it in hexadecimal.
    fn from_str(text: &str) -> Result<TimelineId, ParseError> {
        let only_digits = text.bytes().all(|b| b.is_ascii_digit());
        text.parse()
            .ok()
            .filter(|_| only_digits)
            .map(TimelineId)
            .ok_or_else(|| ParseError::Timeline { text: text.to_owned() })
    }
}

/// One line of a history file: an ancestor and where it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The ancestor.
    pub timeline: TimelineId,
    /// The first address that no longer belongs to it.
    pub switch_lsn: Lsn,
    /// Why it was left, in PostgreSQL's words; for people only.
    pub reason: String,
}

/// A timeline with its ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineHistory {
    timeline: TimelineId,
    entries: Vec<HistoryEntry>,
}

impl TimelineHistory {
    /// The history of a timeline without ancestors, for which no history file exists.
    pub fn without_ancestors(timeline: TimelineId) -> TimelineHistory {
        TimelineHistory { timeline, entries: Vec::new() }
    }

    /// Reads the content of `<timeline>.history`.
    ///
    /// The same files are refused as by PostgreSQL: a line must hold a timeline and an LSN, timelines must increase
    /// and stay below `timeline`. Blank lines and lines that start with `#` count for nothing.
    /// Fails with [`ParseError::History`].
    pub fn parse(timeline: TimelineId, content: &[u8]) -> Result<TimelineHistory, ParseError> {
        let mut entries: Vec<HistoryEntry> = Vec::new();
        for (number, line) in String::from_utf8_lossy(content).lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let refuse = |problem| ParseError::History { timeline, line: number + 1, problem };
            let entry = parse_entry(line).map_err(refuse)?;
            if entries.last().is_some_and(|previous| entry.timeline <= previous.timeline) {
                return Err(refuse("timelines must be in increasing order"));
            }
            if entry.timeline >= timeline {
                return Err(refuse("timelines must be lower than the timeline whose history this is"));
            }
            entries.push(entry);
        }
        Ok(TimelineHistory { timeline, entries })
    }

    /// The timeline whose history this is.
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// The ancestors, oldest first.
    pub fn entries(&self) -> &[HistoryEntry] {
        &self.entries
    }

    /// The timeline this one was split from, and where.
    pub fn parent(&self) -> Option<&HistoryEntry> {
        self.entries.last()
    }

    /// The first address that no longer belongs to the ancestor `timeline`; `None` if it is no ancestor or the
    /// newest timeline itself, which has no end.
    pub fn switch_point(&self, timeline: TimelineId) -> Option<Lsn> {
        self.entries.iter().find(|entry| entry.timeline == timeline).map(|entry| entry.switch_lsn)
    }

    /// The timeline that holds the byte at `lsn`.
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        self.entries.iter().find(|entry| lsn < entry.switch_lsn).map_or(self.timeline, |entry| entry.timeline)
    }
}

fn parse_entry(line: &str) -> Result<HistoryEntry, &'static str> {
    let (timeline, rest) = split_where(line, |c| !c.is_ascii_digit());
    let timeline = timeline.parse().map_err(|_| "expected a timeline number at its start")?;

    const NO_LSN: &str = "expected a switch point LSN after the timeline";
    let (high, rest) = split_where(rest.trim_start(), |c| !c.is_ascii_hexdigit());
    let (low, reason) = split_where(rest.strip_prefix('/').ok_or(NO_LSN)?, |c| !c.is_ascii_hexdigit());
    let (Some(high), Some(low)) = (parse_hex32(high), parse_hex32(low)) else { return Err(NO_LSN) };

    Ok(HistoryEntry {
        timeline,
        switch_lsn: Lsn::new(u64::from(high) << 32 | u64::from(low)),
        reason: reason.trim().to_owned(),
    })
}

fn split_where(text: &str, is_end: impl Fn(char) -> bool) -> (&str, &str) {
    text.find(is_end).and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tli(number: u32) -> TimelineId {
        TimelineId::new(number).unwrap()
    }

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }

    const THREE: &[u8] = b"1\t0/3000060\tno recovery target specified\n\n\
        # a comment\n   \n  2\t0/40000A0\tbefore 2026-11-21 04:00:00+00\n";

    #[test]
    fn reads_entries_comments_and_blank_lines() {
        let history = TimelineHistory::parse(tli(5), THREE).unwrap();
        assert_eq!(
            history.entries(),
            [
                HistoryEntry {
                    timeline: tli(1),
                    switch_lsn: lsn("0/3000060"),
                    reason: "no recovery target specified".into()
                },
                HistoryEntry {
                    timeline: tli(2),
                    switch_lsn: lsn("0/40000A0"),
                    reason: "before 2026-11-21 04:00:00+00".into()
                },
            ]
        );
        assert_eq!(history.parent().unwrap().timeline, tli(2));
    }

    #[test]
    fn reads_what_a_promotion_writes() {
        let history =
            TimelineHistory::parse(tli(2), include_bytes!("../../tests/golden/pg/00000002.history")).unwrap();
        assert_eq!(history.switch_point(TimelineId::FIRST), Some(lsn("0/3052020")));
        assert_eq!(history.parent().unwrap().reason, "no recovery target specified");
    }

    #[test]
    fn answers_questions() {
        let history = TimelineHistory::parse(tli(5), THREE).unwrap();
        for (timeline, switch) in
            [(1, Some("0/3000060")), (2, Some("0/40000A0")), (3, None), (5, None), (6, None)]
        {
            assert_eq!(history.switch_point(tli(timeline)), switch.map(lsn), "{timeline}");
        }
        for (at, holder) in
            [("0/0", 1), ("0/300005F", 1), ("0/3000060", 2), ("0/400009F", 2), ("0/40000A0", 5), ("F/0", 5)]
        {
            assert_eq!(history.timeline_at(lsn(at)), tli(holder), "{at}");
        }
    }

    #[test]
    fn a_first_timeline_has_no_ancestors() {
        let history = TimelineHistory::without_ancestors(TimelineId::FIRST);
        assert_eq!(history.timeline_at(lsn("0/0")), TimelineId::FIRST);
        assert_eq!(history.parent(), None);
        assert_eq!(TimelineHistory::parse(TimelineId::FIRST, b"# nothing\n"), Ok(history));
    }

    #[test]
    fn refuses_what_postgresql_refuses() {
        for (name, content, line) in [
            ("no number", "one\t0/1\tx\n", 1),
            ("timeline zero", "0\t0/1\tx\n", 1),
            ("number too large", "4294967296\t0/1\n", 1),
            ("no LSN", "1\n", 1),
            ("half an LSN", "\n1\t0/\n", 2),
            ("LSN too long", "1\t0/123456789\n", 1),
            ("same twice", "1\t0/1\n1\t0/2\n", 2),
            ("decreasing", "2\t0/1\n1\t0/2\n", 2),
            ("itself", "1\t0/1\n4\t0/2\n", 2),
        ] {
            match TimelineHistory::parse(tli(4), content.as_bytes()) {
                Err(ParseError::History { line: found, .. }) => assert_eq!(found, line, "{name}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_reason_may_be_missing_or_in_any_encoding() {
        let history = TimelineHistory::parse(tli(2), b"1 0/10\tat restore point \"\xE9t\xE9\"\r\n").unwrap();
        assert!(history.entries()[0].reason.starts_with("at restore point"));
        let history = TimelineHistory::parse(tli(2), b"1\t0/10").unwrap();
        assert_eq!(history.entries()[0].reason, "");
    }

    #[test]
    fn timeline_numbers() {
        assert_eq!("1".parse(), Ok(TimelineId::FIRST));
        assert_eq!("4294967295".parse(), Ok(tli(u32::MAX)));
        for text in ["", "0", "-1", "+1", " 1", "1x", "4294967296"] {
            assert_eq!(text.parse::<TimelineId>(), Err(ParseError::Timeline { text: text.to_owned() }));
        }
    }

    proptest! {
        #[test]
        fn no_content_panics(content: Vec<u8>, timeline in 1u32..) {
            let _ = TimelineHistory::parse(tli(timeline), &content);
        }

        #[test]
        fn nearly_right_content_does_not_panic(content in "([0-9é]{0,3}[\t ]{0,2}[0-9A-F]{0,9}/?[0-9A-G]{0,9}[\t #]?\n?){0,4}") {
            let _ = TimelineHistory::parse(tli(9), content.as_bytes());
        }
    }
}
