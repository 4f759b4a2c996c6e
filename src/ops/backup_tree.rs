//! The backups of a list as trees: each delta below what it builds on.

use std::collections::{BTreeMap, BTreeSet};

use crate::layout::walg::BackupName;

use super::backup_list::ListedBackup;

/// One line of the trees, which are laid out parent first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeLine<'a> {
    /// How many backups of its tree stand above it.
    pub depth: usize,
    /// What the line is about.
    pub node: Node<'a>,
}

/// A place in a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node<'a> {
    /// A backup of the list.
    Backup(&'a ListedBackup, Chain),
    /// A backup that is not in the list, though a delta of the list builds on it.
    Missing(BackupName),
}

/// What is left of all that a backup builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// It leads to a full backup.
    Complete,
    /// It does not: the backup cannot be restored.
    Broken,
}

/// Lays out `backups`, whose parents must have been read ([`super::backup_list::Detail::Documents`]). Full backups
/// and missing parents are the roots; roots, and deltas of one parent, keep the order of the list.
///
/// Deltas that build on each other in a circle begin with the first of them.
pub fn lines(backups: &[ListedBackup]) -> Vec<TreeLine<'_>> {
    let listed: BTreeSet<BackupName> = backups.iter().map(|backup| backup.entry.name).collect();
    let mut deltas: BTreeMap<BackupName, Vec<&ListedBackup>> = BTreeMap::new();
    for backup in backups {
        if let Some(parent) = backup.delta_from {
            deltas.entry(parent).or_default().push(backup);
        }
    }
    let mut trees = Trees { deltas, drawn: BTreeSet::new(), lines: Vec::with_capacity(backups.len()) };
    for backup in backups {
        match backup.delta_from {
            None => {
                // Of a delta it could not be told.
                let chain = if backup.entry.name.is_delta() { Chain::Broken } else { Chain::Complete };
                trees.grow(TreeLine { depth: 0, node: Node::Backup(backup, chain) });
            }
            Some(parent) if !listed.contains(&parent) => {
                trees.grow(TreeLine { depth: 0, node: Node::Missing(parent) });
            }
            Some(_) => {}
        }
    }
    // What no root has reached stands in a circle, or on one.
    for backup in backups {
        trees.grow(TreeLine { depth: 0, node: Node::Backup(backup, Chain::Broken) });
    }
    trees.lines
}

struct Trees<'a> {
    /// By parent.
    deltas: BTreeMap<BackupName, Vec<&'a ListedBackup>>,
    /// What has a line.
    drawn: BTreeSet<BackupName>,
    lines: Vec<TreeLine<'a>>,
}

impl<'a> Trees<'a> {
    /// Adds `root` and all that builds on it, where it has no line yet.
    fn grow(&mut self, root: TreeLine<'a>) {
        let mut rest = vec![root];
        while let Some(line) = rest.pop() {
            let name = line.node.name();
            if !self.drawn.insert(name) {
                continue;
            }
            self.lines.push(line);
            let (depth, chain) = (line.depth + 1, line.node.chain());
            let deltas = self.deltas.get(&name).into_iter().flatten().rev();
            rest.extend(deltas.map(|delta| TreeLine { depth, node: Node::Backup(delta, chain) }));
        }
    }
}

impl Node<'_> {
    /// The backup's name.
    pub fn name(&self) -> BackupName {
        match self {
            Node::Backup(backup, _) => backup.entry.name,
            Node::Missing(name) => *name,
        }
    }

    /// What deltas on it can hope for.
    fn chain(&self) -> Chain {
        match self {
            Node::Backup(_, chain) => *chain,
            Node::Missing(_) => Chain::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::walg::BackupEntry;

    /// A list from names and their parents; names by the digit of their segment.
    fn list(backups: &[(u32, Option<u32>)]) -> Vec<ListedBackup> {
        let full = |number: u32| format!("base_0000000100000000{number:08X}").parse::<BackupName>().unwrap();
        let name = |number: u32| {
            let parent = backups.iter().find(|(other, _)| *other == number).and_then(|(_, parent)| *parent);
            parent.map_or(full(number), |parent| BackupName::delta(full(number).segment(), full(parent)))
        };
        let listed = |(number, parent): &(u32, Option<u32>)| ListedBackup {
            entry: BackupEntry { name: name(*number), modified: jiff::Timestamp::UNIX_EPOCH },
            metadata: None,
            delta_from: parent.map(name),
        };
        backups.iter().map(listed).collect()
    }

    fn drawn(backups: &[(u32, Option<u32>)]) -> Vec<String> {
        let draw = |line: &TreeLine<'_>| {
            let number = line.node.name().segment().to_string().trim_start_matches('0').to_owned();
            let number = number.trim_start_matches('1').trim_start_matches('0').to_owned();
            let mark = match line.node {
                Node::Backup(_, Chain::Complete) => "",
                Node::Backup(_, Chain::Broken) => " broken",
                Node::Missing(_) => " missing",
            };
            format!("{}{number}{mark}", " ".repeat(line.depth))
        };
        lines(&list(backups)).iter().map(draw).collect()
    }

    #[test]
    fn deltas_stand_below_what_they_build_on() {
        let interleaved = [(2, None), (3, Some(2)), (4, None), (5, Some(2)), (6, Some(3)), (7, Some(4))];
        assert_eq!(drawn(&interleaved), ["2", " 3", "  6", " 5", "4", " 7"]);
    }

    #[test]
    fn a_missing_parent_has_a_line_once() {
        let backups = [(3, Some(2)), (4, None), (5, Some(3)), (6, Some(2)), (7, Some(4))];
        assert_eq!(drawn(&backups), ["2 missing", " 3 broken", "  5 broken", " 6 broken", "4", " 7"]);
    }

    #[test]
    fn a_delta_of_unknown_origin_is_broken() {
        let mut backups = list(&[(2, None), (3, Some(2)), (4, Some(3))]);
        backups[1].delta_from = None;
        let chains = lines(&backups).iter().map(|line| (line.depth, line.node.chain())).collect::<Vec<_>>();
        assert_eq!(chains, [(0, Chain::Complete), (0, Chain::Broken), (1, Chain::Broken)]);
    }

    #[test]
    fn a_circle_is_drawn_and_broken() {
        assert_eq!(
            drawn(&[(2, None), (3, Some(5)), (4, Some(3)), (5, Some(4)), (6, Some(6)), (7, Some(4))]),
            ["2", "3 broken", " 4 broken", "  5 broken", "  7 broken", "6 broken"]
        );
    }
}
