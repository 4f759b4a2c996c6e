//! Chains of backups made by hand, in memory, and what they have to become.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::catalog;
use crate::checksum::Checksum;
use crate::codec::{Cipher, Compression, Method};
use crate::layout::walg::files_metadata::FileDescription;
use crate::layout::walg::increment::{MAGIC, PAGE_BYTES};
use crate::layout::walg::names::{self, TarName};
use crate::layout::walg::{Backup, BackupName, Checksums, DeltaOrigin, FilesMetadata, WalG};
use crate::ops::backup_choice::BackupChoice;
use crate::ops::backup_fetch::{self, Options, Plan, SyncFiles};
use crate::ops::{Context, Error};
use crate::pg::Lsn;
use crate::progress::Progress;
use crate::storage::memory::Memory;
use crate::storage::{Key, SharedStorage};
use crate::tarball::{Entry, Writer};

const CONTROL: &[u8] = include_bytes!("../../../../tests/golden/pg/pg_control.15.bin");

/// Longer than any of these restores takes on a busy machine; a deadlock lasts longer still.
const LIMIT: Duration = Duration::from_secs(120);

/// How a backup holds a file.
#[derive(Debug, Clone)]
pub enum Content {
    Whole(Vec<u8>),
    /// The size of the file in pages, and the byte that fills each page the increment has, some of them beyond it maybe.
    Increment(u32, Vec<(u32, u8)>),
    Skipped,
    Directory,
}

/// The lists that a backup has of its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lists {
    All,
    /// As backups by the replication protocol.
    NoTarFileSets,
    /// `FilesMetadataDisabled`; of full backups only.
    None,
}

/// One backup: its files, each with the number of the tar that holds it.
#[derive(Debug, Clone)]
pub struct Step {
    pub lists: Lists,
    pub files: Vec<(&'static str, u32, Content)>,
}

/// A backup whose lists name everything.
pub fn step(files: Vec<(&'static str, u32, Content)>) -> Step {
    Step { lists: Lists::All, files }
}

/// A file of whole pages, each filled with one byte.
pub fn whole(fills: &[u8]) -> Content {
    Content::Whole(fills.iter().flat_map(|fill| [*fill; PAGE_BYTES]).collect())
}

/// An increment of a file of so many pages.
pub fn increment(pages: u32, changed: &[(u32, u8)]) -> Content {
    Content::Increment(pages, changed.to_vec())
}

/// The name of the backup of a step, in a chain.
pub fn name(step: usize) -> BackupName {
    let segment = |step| format!("0000000100000000000000{:02X}", 2 * step + 2).parse().unwrap();
    match step {
        0 => BackupName::full(segment(0)),
        step => BackupName::delta(segment(step), name(step - 1)),
    }
}

pub fn tar_key(step: usize, number: u32) -> Key {
    names::tar_key(name(step), TarName::Part(number), Method::None)
}

/// Stores the chain, the full backup first, as wal-g would.
pub fn stored(steps: &[Step]) -> Memory {
    let memory = Memory::new();
    for (number, step) in steps.iter().enumerate() {
        store(&memory, number, step);
    }
    memory
}

fn store(memory: &Memory, number: usize, step: &Step) {
    let mut list = FilesMetadata::default();
    let mut tars: BTreeMap<u32, Writer<Vec<u8>>> = BTreeMap::new();
    for (path, tar, content) in &step.files {
        // The names of backups of a local directory begin with a slash, those of remote ones do not.
        let member = if step.lists == Lists::All { format!("/{path}") } else { (*path).to_owned() };
        let mut description = FileDescription::whole(Timestamp::UNIX_EPOCH, None);
        description.is_incremented = matches!(content, Content::Increment(..));
        description.is_skipped = matches!(content, Content::Skipped);
        list.files.insert(member.clone(), description);
        if let Content::Skipped = content {
            continue;
        }
        let tar_name = TarName::Part(*tar).object_name(Method::None);
        list.tar_file_sets.entry(tar_name).or_default().push(member.clone());
        let writer = tars.entry(*tar).or_insert_with(|| Writer::new(Vec::new()));
        add(writer, member, mode(number), content);
    }
    for (tar, writer) in tars {
        memory.set(&tar_key(number, tar), writer.finish().unwrap());
    }
    let control: [(&str, &[u8]); 1] = [("global/pg_control", CONTROL)];
    let labels: [(&str, &[u8]); 2] = [("backup_label", b"label"), ("tablespace_map", b"")];
    for (tar, members) in [(TarName::Control, &control[..]), (TarName::Labels, &labels[..])] {
        let mut writer = Writer::new(Vec::new());
        for (member, content) in members {
            add(&mut writer, (*member).to_owned(), 0o600, &Content::Whole(content.to_vec()));
        }
        memory.set(&names::tar_key(name(number), tar, Method::None), writer.finish().unwrap());
    }
    let labels = vec!["backup_label".to_owned(), "tablespace_map".to_owned()];
    list.tar_file_sets.insert(TarName::Labels.object_name(Method::None), labels);
    if step.lists != Lists::All {
        list.tar_file_sets.clear();
    }
    let list = (step.lists != Lists::None).then_some(&list);
    let backup = backup(number, list.is_none());
    let mut documents = backup.documents(list, &BTreeMap::new()).unwrap();
    documents.retain(|document| document.key != names::checksums_key(name(number)));
    catalog::commit(memory, documents).now_or_never().unwrap().unwrap();
}

/// Records what is stored of each backup, as seawall does.
pub fn record(memory: &Memory, steps: &[Step]) {
    for backup in (0..steps.len()).map(name) {
        let mut checksums = Checksums::default();
        for key in memory.keys() {
            if key.file_name().contains(".tar") || key == names::files_metadata_key(backup) {
                checksums.add(backup, &key, Checksum::of(&memory.content(&key).unwrap()));
            }
        }
        memory.set(&names::checksums_key(backup), checksums.to_json().unwrap());
    }
}

/// Each backup has a mode of its own for what it holds.
fn mode(step: usize) -> u32 {
    0o600 | [0, 0o040, 0o044, 0o004][step % 4]
}

fn add(writer: &mut Writer<Vec<u8>>, name: String, mode: u32, content: &Content) {
    let entry = Entry {
        name,
        mode,
        uid: 0,
        user: String::new(),
        gid: 0,
        group: String::new(),
        mtime_seconds: 0,
        mtime_nanoseconds: 0,
    };
    let bytes = match content {
        Content::Directory => return writer.directory(&entry).unwrap(),
        Content::Skipped => return,
        Content::Whole(bytes) => bytes.clone(),
        Content::Increment(pages, changed) => {
            // By hand, since there may be pages beyond the size, which seawall does not write.
            let mut bytes = MAGIC.to_vec();
            bytes.extend((u64::from(*pages) * PAGE_BYTES as u64).to_le_bytes());
            bytes.extend(u32::try_from(changed.len()).unwrap().to_le_bytes());
            bytes.extend(changed.iter().flat_map(|(block, _)| block.to_le_bytes()));
            bytes.extend(changed.iter().flat_map(|(_, fill)| [*fill; PAGE_BYTES]));
            bytes
        }
    };
    writer.file(&entry, bytes.len() as u64, &bytes[..]).unwrap();
}

fn backup(step: usize, files_metadata_disabled: bool) -> Backup {
    let lsn = Lsn::new(0x0200_0028 * (step as u64 + 1));
    let delta = (step > 0).then(|| DeltaOrigin {
        parent: name(step - 1),
        full: name(0),
        count: u32::try_from(step).unwrap(),
        lsn: Lsn::new(0x0200_0028 * step as u64),
        source: None,
    });
    Backup { delta, files_metadata_disabled, ..Backup::for_test(name(step), lsn) }
}

/// Files by their paths, each with its mode.
pub type Files = BTreeMap<String, (u32, Vec<u8>)>;

/// What the chain has to become: each backup applied to what was before it, the full one first.
pub fn applied(steps: &[Step]) -> Files {
    let mut before = Files::new();
    for (number, step) in steps.iter().enumerate() {
        let mut after = Files::new();
        for (path, _, content) in &step.files {
            let file = match content {
                Content::Directory => continue,
                Content::Skipped => before[*path].clone(),
                Content::Whole(bytes) => (mode(number), bytes.clone()),
                Content::Increment(pages, changed) => {
                    let (mode, mut bytes) = before[*path].clone();
                    bytes.resize(*pages as usize * PAGE_BYTES, 0);
                    for (block, fill) in changed {
                        let start = *block as usize * PAGE_BYTES;
                        // As wal-g applies it: a page beyond the size makes the file longer.
                        bytes.resize(bytes.len().max(start + PAGE_BYTES), 0);
                        bytes[start..][..PAGE_BYTES].fill(*fill);
                    }
                    (mode, bytes)
                }
            };
            after.insert((*path).to_owned(), file);
        }
        before = after;
    }
    before
}

/// The files of a restored cluster but the label and `pg_control`, which every backup has.
pub fn restored(directory: &Path) -> Files {
    let mut files = Files::new();
    read_files(directory, directory, &mut files);
    assert_eq!(files.remove("global/pg_control").map(|(_, content)| content), Some(CONTROL.to_vec()));
    assert_eq!(files.remove("backup_label").map(|(_, content)| content), Some(b"label".to_vec()));
    files.remove("tablespace_map");
    files
}

fn read_files(root: &Path, directory: &Path, files: &mut Files) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_files(root, &path, files);
        } else {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.insert(name, (mode, fs::read(&path).unwrap()));
        }
    }
}

pub fn context(storage: SharedStorage) -> Context {
    Context {
        storage,
        layout: &WalG,
        compression: Compression::None,
        cipher: Cipher::None,
        cancel: CancellationToken::new(),
        progress: Progress::new(),
    }
}

pub fn options(target: &Path, concurrency: usize) -> Options {
    Options { target: target.to_owned(), concurrency, cores: 2, network_rate: None, sync: SyncFiles::No }
}

/// Restores the backup of a step as the command line does.
pub fn restore(ctx: &Context, step: usize, options: Options) -> Result<(), Error> {
    let choice = BackupChoice::Name(name(step));
    on_a_runtime(async {
        let plan = Plan::walg(ctx, &choice, None).await?;
        backup_fetch::run(ctx, plan, options).await
    })
}

/// What a restore that ends returns.
pub fn on_a_runtime(restore: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, restore).await });
    runtime.shutdown_background();
    outcome.expect("the restore ends")
}

/// Restores the newest backup of `steps` from `memory`.
pub fn restore_newest(
    memory: &Memory,
    steps: &[Step],
    target: &Path,
    concurrency: usize,
) -> Result<(), Error> {
    restore(&context(Arc::new(memory.clone())), steps.len() - 1, options(target, concurrency))
}
