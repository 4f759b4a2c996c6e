//! The order of system calls that makes a file survive a power cut: what was written is synced before the file gets its
//! name, and the name is synced before the command ends.

use std::collections::BTreeMap;
use std::path::Path;

/// A system call that succeeded.
struct Call {
    name: String,
    arguments: String,
    /// The lines of the trace at which it began and ended.
    begin: usize,
    end: usize,
}

impl Call {
    /// The path of its descriptor.
    fn descriptor(&self) -> Option<&str> {
        Some(self.arguments.split_once('<')?.1.split_once('>')?.0)
    }

    /// The paths that it names.
    fn paths(&self) -> Vec<&str> {
        self.arguments.split('"').skip(1).step_by(2).collect()
    }

    fn is_sync_of(&self, path: &str) -> bool {
        ["fsync", "fdatasync"].contains(&self.name.as_str()) && self.descriptor() == Some(path)
    }
}

/// The calls of a trace. One that another thread's call interrupts has two lines.
fn calls(trace: &str) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut begun: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (line_number, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(text) = text.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (line_number, text));
            continue;
        }
        let (begin, head) = match text.starts_with("<... ") {
            true => begun.remove(thread).unwrap(),
            false => (line_number, text),
        };
        let failed = text.rsplit_once(" = ").is_none_or(|(_, value)| value.starts_with('-'));
        let Some((name, arguments)) = head.split_once('(') else { continue };
        if !failed {
            let (name, arguments) = (name.to_owned(), arguments.to_owned());
            calls.push(Call { name, arguments, begin, end: line_number });
        }
    }
    calls
}

/// The file at `path`, which the traced command has found, cannot be lost any more.
pub fn still_holds(trace: &str, path: &Path) {
    let calls = calls(trace);
    let mut synced = path.ancestors().take(3).map(|path| path.to_str().unwrap());
    assert!(
        synced.all(|path| calls.iter().any(|call| call.is_sync_of(path))),
        "{path:?} is not synced\n{trace}"
    );
}

/// The file at `path`, which the traced command has stored, cannot be lost any more.
pub fn holds(trace: &str, path: &Path) {
    let text = path.to_str().unwrap();
    let calls = calls(trace);
    let named = |call: &&Call| {
        let names = ["rename", "renameat", "renameat2", "link", "linkat"].contains(&call.name.as_str());
        names && call.paths().last() == Some(&text)
    };
    let name = calls.iter().find(named).unwrap_or_else(|| panic!("{text} gets no name\n{trace}"));
    let temporary = name.paths()[0];
    let is_write = |call: &&Call| call.name.contains("write") && call.descriptor() == Some(temporary);
    let written = calls.iter().filter(is_write).map(|call| call.end).max();
    let written = written.unwrap_or_else(|| panic!("nothing is written to {temporary}\n{trace}"));
    let synced = |path: &str, after: usize, before: usize| {
        calls.iter().any(|call| call.is_sync_of(path) && call.begin > after && call.end < before)
    };
    assert!(synced(temporary, written, name.begin), "{temporary} is not synced in time\n{trace}");
    let directory = |path: &str| Path::new(path).parent().unwrap().to_str().unwrap().to_owned();
    assert!(synced(&directory(text), name.end, usize::MAX), "the name {text} is not synced\n{trace}");
    for made in calls.iter().filter(|call| call.name.starts_with("mkdir")) {
        let new = *made.paths().last().unwrap();
        if path.starts_with(new) {
            assert!(synced(&directory(new), made.end, usize::MAX), "the name {new} is not synced\n{trace}");
        }
    }
}
