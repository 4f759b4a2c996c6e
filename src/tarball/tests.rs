//! The writer against wal-g's own archives and other readers, and the reader against all that can be wrong.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::header::{Type, header_blocks};
use super::*;
use crate::codec::{Cipher, Method, decode};

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/golden/walg/objects/{name}", env!("CARGO_MANIFEST_DIR"));
    let stored = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let method = Method::from_extension(name.rsplit_once('.').unwrap().1).unwrap();
    let mut plain = Vec::new();
    decode(&stored[..], method, &Cipher::None).unwrap().read_to_end(&mut plain).unwrap();
    plain
}

fn entry(name: &str) -> Entry {
    Entry {
        name: name.to_owned(),
        mode: 0o600,
        uid: 999,
        user: "postgres".to_owned(),
        gid: 999,
        group: "postgres".to_owned(),
        mtime_seconds: 1_790_000_000,
        mtime_nanoseconds: 499_999_999,
    }
}

/// The header of a member as wal-g wrote it, and ours for the same facts.
fn ours_for(theirs: &tar::Header) -> Vec<u8> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let entry = Entry {
        name: text(&theirs.path_bytes()),
        mode: theirs.mode().unwrap(),
        uid: theirs.uid().unwrap().try_into().unwrap(),
        user: text(theirs.username_bytes().unwrap()),
        gid: theirs.gid().unwrap().try_into().unwrap(),
        group: text(theirs.groupname_bytes().unwrap()),
        mtime_seconds: theirs.mtime().unwrap().try_into().unwrap(),
        mtime_nanoseconds: 0,
    };
    let link = theirs.link_name_bytes().map(|target| text(&target)).unwrap_or_default();
    let member_type = match theirs.entry_type() {
        tar::EntryType::Regular => Type::File(theirs.size().unwrap()),
        tar::EntryType::Directory => Type::Directory,
        tar::EntryType::Symlink => Type::Symlink(&link),
        other => panic!("{other:?}"),
    };
    header_blocks(&entry, member_type).unwrap()
}

#[test]
fn headers_are_walgs_byte_for_byte() {
    let mut compared = 0;
    for name in ["part_001.headers.zst", "backup_label.tar.lz4", "pg_control.tar.lz4"] {
        let archive = golden(&format!("lz4-plain-tablespace/{name}"));
        let mut rest = &archive[..];
        while let Some((block, tail)) = rest.split_first_chunk::<BLOCK_BYTES>() {
            if block[0] == 0 {
                assert_eq!(rest.len(), 1024, "{name}: two zero blocks and nothing else");
                break;
            }
            let theirs = tar::Header::from_byte_slice(block);
            assert_eq!(ours_for(theirs), block, "{name}: {:?}", theirs.path().unwrap());
            let size = if name.contains("headers") { 0 } else { theirs.size().unwrap() };
            rest = &tail[usize::try_from(size).unwrap() + padding_bytes(size)..];
            compared += 1;
        }
    }
    assert!(compared > 40, "{compared}");
}

#[test]
fn a_whole_archive_is_walgs_byte_for_byte() {
    let theirs = golden("lz4-plain-tablespace/backup_label.tar.lz4");
    let mut ours = Writer::new(Vec::new());
    for member in tar::Archive::new(&theirs[..]).entries().unwrap() {
        let mut member = member.unwrap();
        let header = member.header().clone();
        let name = String::from_utf8(header.path_bytes().into_owned()).unwrap();
        let entry = Entry {
            mode: header.mode().unwrap(),
            uid: header.uid().unwrap().try_into().unwrap(),
            user: header.username().unwrap().unwrap().to_owned(),
            gid: header.gid().unwrap().try_into().unwrap(),
            group: header.groupname().unwrap().unwrap().to_owned(),
            mtime_seconds: header.mtime().unwrap().try_into().unwrap(),
            ..entry(&name)
        };
        ours.file(&entry, member.size(), &mut member).unwrap();
    }
    let written = ours.bytes_written();
    let ours = ours.finish().unwrap();
    assert_eq!(written + 1024, ours.len() as u64);
    assert!(ours == theirs);
}

/// Names and sizes that need a split or PAX records, and how Go's writer puts them.
#[test]
fn what_does_not_fit_goes_into_the_prefix_or_pax_records() {
    let deep = format!("/{}/{}", "d".repeat(60), "f".repeat(80));
    let split = header_blocks(&entry(&deep), Type::Directory).unwrap();
    assert_eq!(split.len(), BLOCK_BYTES);
    assert_eq!(&split[..81], format!("{}\0", "f".repeat(80)).as_bytes());
    assert_eq!(&split[345..407], format!("/{}\0", "d".repeat(60)).as_bytes());

    let long = format!("/base/{}", "f".repeat(120));
    let pax = header_blocks(&entry(&long), Type::Directory).unwrap();
    assert_eq!(pax.len(), 3 * BLOCK_BYTES);
    assert_eq!(&pax[..22], b"/base/PaxHeaders.0/fff");
    assert_eq!(&pax[512..527], b"136 path=/base/");
    assert_eq!(&pax[1024..1124], &long.as_bytes()[..100]);

    let umlaut = header_blocks(&entry("/base/gr\u{f6}\u{df}e"), Type::File(9 << 30)).unwrap();
    assert!(umlaut[512..].starts_with("22 path=/base/gr\u{f6}\u{df}e\n19 size=9663676416\n".as_bytes()));
    assert!(umlaut[1024..].starts_with(b"/base/gre\0"));
    assert_eq!(&umlaut[1024 + 124..1024 + 136], b"00000000000\0");

    let huge_ids = Entry { uid: u32::MAX, mtime_seconds: -5, ..entry("/x") };
    let huge_ids = header_blocks(&huge_ids, Type::File(1)).unwrap();
    assert!(huge_ids[512..].starts_with(b"12 mtime=-5\n18 uid=4294967295\n"));

    let error = header_blocks(&entry("a\0b"), Type::Directory).unwrap_err();
    assert_eq!(error.to_string(), "its name contains a NUL byte");
}

/// The same members as `tests/golden/tar/headers.go` writes with Go's `archive/tar`.
#[test]
fn unusual_headers_are_gos_byte_for_byte() {
    let split = format!("/{}/{}", "d".repeat(60), "f".repeat(80));
    let link = format!("/{}", "t".repeat(130));
    let directories = [
        split.clone(),
        format!("/base/{}", "f".repeat(120)),
        format!("/base/{}/{}", "f".repeat(93), "g".repeat(120)),
        format!("/{}x", "ab/".repeat(80)),
    ];
    let at = |seconds, nanoseconds| Entry {
        mtime_seconds: seconds,
        mtime_nanoseconds: nanoseconds,
        ..entry("/y")
    };
    let files = [
        (entry(&format!("/{}{}", "abc/".repeat(50), "y".repeat(99))), 3),
        (entry(&format!("/{}{}", "abc/".repeat(30), "y".repeat(101))), 3),
        (entry(&format!("/{}/{}", "z".repeat(155), "y".repeat(100))), 3),
        (entry(&format!("/{}/{}", "z".repeat(154), "y".repeat(100))), 3),
        (entry("/base/gr\u{f6}\u{df}e"), 1),
        (entry(&format!("gr\u{f6}\u{df}e/{}/k", "\u{e9}".repeat(90))), 1),
        (entry("nodirgr\u{f6}\u{df}e"), 1),
        (Entry { uid: u32::MAX, gid: 2_097_152, name: "/x".to_owned(), ..at(-5, 0) }, 0),
        (Entry { uid: 2_097_151, ..at(-5, 600_000_000) }, 0),
        (Entry { user: "u".repeat(33), group: "gr\u{fc}ppe".to_owned(), ..entry("/y") }, 0),
        (Entry { user: "u".repeat(32), ..at(1 << 33, 500_000_000) }, 0),
    ];
    let mut writer = Writer::new(Vec::new());
    writer.directory(&entry("/")).unwrap();
    writer.directory(&entry("/base")).unwrap();
    writer.file(&entry("/base/1"), 700, io::repeat(7)).unwrap();
    writer.symlink(&entry("/pg_tblspc/16384"), "/mnt/space").unwrap();
    writer.symlink(&entry("/lnk"), &link).unwrap();
    writer.symlink(&entry(&split), &link).unwrap();
    for name in &directories {
        writer.directory(&entry(name)).unwrap();
    }
    for (entry, size) in &files {
        writer.file(entry, *size, io::repeat(7)).unwrap();
    }
    let ours = writer.finish().unwrap();
    let gos = golden("../../tar/go.tar.zst");
    for (number, (our_block, go_block)) in ours.chunks(512).zip(gos.chunks(512)).enumerate() {
        let text = |block: &[u8]| String::from_utf8_lossy(block).replace('\0', "~");
        assert_eq!(text(our_block), text(go_block), "block {number}");
    }
    assert_eq!(ours.len(), gos.len());
}

#[test]
fn times_are_rounded_to_seconds() {
    let at = |nanoseconds| {
        let entry = Entry { mtime_seconds: 8, mtime_nanoseconds: nanoseconds, ..entry("/x") };
        header_blocks(&entry, Type::Directory).unwrap()[136..148].to_vec()
    };
    assert_eq!(at(499_999_999), b"00000000010\0");
    assert_eq!(at(500_000_000), b"00000000011\0");
}

#[test]
fn a_file_has_the_announced_size_whatever_its_content() {
    let cases: [(&[u8], Copied, &[u8]); 4] = [
        (b"abcde", Copied::Whole, b"abcde"),
        (b"abc", Copied::Padded(2), b"abc\0\0"),
        (b"", Copied::Padded(5), b"\0\0\0\0\0"),
        (b"abcdefgh", Copied::Cut, b"abcde"),
    ];
    for (content, expected, stored) in cases {
        let mut writer = Writer::new(Vec::new());
        assert_eq!(writer.file(&entry("/f"), 5, content).unwrap(), expected);
        assert_eq!(writer.bytes_written(), 1024);
        let archive = writer.finish().unwrap();
        assert_eq!(members(&archive).unwrap(), [("f".into(), Kind::File, 0o600, stored.to_vec())]);
    }
}

#[test]
fn an_archive_without_its_mark_is_told_apart() {
    let archive = sample();
    let ending = |archive: &[u8]| read_members(archive, |_| Ok::<_, ReadError>(()));
    assert_eq!(ending(&archive).unwrap(), Ending::Marked);
    assert_eq!(ending(&[&archive[..], &[0; 9000]].concat()).unwrap(), Ending::Marked);
    for missing in [1024, 512, 1] {
        assert_eq!(ending(&archive[..archive.len() - missing]).unwrap(), Ending::Unmarked, "{missing}");
    }
    assert_eq!(ending(&[]).unwrap(), Ending::Unmarked);
    assert_eq!(ending(&[0; 1024]).unwrap(), Ending::Marked);

    // The zeroes of a member's content are no mark.
    let mut writer = Writer::new(Vec::new());
    writer.file(&entry("/zeroes"), 4096, io::repeat(0)).unwrap();
    let archive = writer.finish().unwrap();
    assert_eq!(ending(&archive[..archive.len() - 1024]).unwrap(), Ending::Unmarked);
}

type Read4 = (PathBuf, Kind, u32, Vec<u8>);

fn members(archive: &[u8]) -> Result<Vec<Read4>, ReadError> {
    let mut all = Vec::new();
    read_members(archive, |member| {
        let mut content = Vec::new();
        member.read_to_end(&mut content).map_err(ReadError::Archive)?;
        assert_eq!(content.len() as u64, member.size_bytes);
        all.push((member.path.clone(), member.kind.clone(), member.mode, content));
        Ok::<_, ReadError>(())
    })?;
    Ok(all)
}

fn sample() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    writer.directory(&Entry { mode: 0o700, ..entry("/") }).unwrap();
    writer.directory(&Entry { mode: 0o700, ..entry("/base") }).unwrap();
    writer.file(&entry("/base/1"), 700, io::repeat(b'a')).unwrap();
    writer.symlink(&Entry { mode: 0o777, ..entry("/pg_tblspc/16384") }, "/mnt/space").unwrap();
    writer.file(&entry(&format!("/base/{}", "long\u{e9}".repeat(50))), 0, io::empty()).unwrap();
    writer.file(&entry("/base/2"), 1024, io::repeat(b'b')).unwrap();
    writer.finish().unwrap()
}

#[test]
fn reads_what_it_wrote() {
    let expected: Vec<Read4> = vec![
        ("".into(), Kind::Directory, 0o700, vec![]),
        ("base".into(), Kind::Directory, 0o700, vec![]),
        ("base/1".into(), Kind::File, 0o600, vec![b'a'; 700]),
        ("pg_tblspc/16384".into(), Kind::Symlink("/mnt/space".into()), 0o777, vec![]),
        (format!("base/{}", "long\u{e9}".repeat(50)).into(), Kind::File, 0o600, vec![]),
        ("base/2".into(), Kind::File, 0o600, vec![b'b'; 1024]),
    ];
    assert_eq!(members(&sample()).unwrap(), expected);
    let padded = [sample(), vec![0; 10_000]].concat();
    assert_eq!(members(&padded).unwrap(), expected);
}

#[test]
fn an_archive_may_lack_its_end_but_not_a_part_of_a_member() {
    let archive = sample();
    let whole = members(&archive).unwrap();
    let mut accepted = Vec::new();
    for cut in 0..archive.len() {
        match members(&archive[..cut]) {
            Ok(read) => {
                assert!(whole.starts_with(&read), "cut at {cut}");
                accepted.push((cut, read.len()));
            }
            Err(ReadError::Truncated | ReadError::Archive(_)) => {}
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
    // Of the padding behind a file (700 bytes) any part may lack.
    let padding = (2236..=2560).map(|cut| (cut, 3));
    let ends =
        [(0, 0), (512, 1), (1024, 2)].into_iter().chain(padding).chain([(3072, 4), (4608, 5), (6144, 6)]);
    let between: Vec<_> = accepted.iter().copied().filter(|(cut, _)| *cut <= 6144).collect();
    assert_eq!(between, ends.collect::<Vec<_>>());
    assert!(accepted.iter().all(|(cut, read)| *cut <= 6144 || *read == 6));
}

/// Go's writer adds it with the next header only, and wal-g's remote backups end without one.
#[test]
fn the_padding_of_the_last_member_may_lack() {
    for size in [1, 3, 511, 512, 513, 524, 1024] {
        let mut writer = Writer::new(Vec::new());
        writer.file(&entry("/first"), 700, io::repeat(b'a')).unwrap();
        writer.file(&entry("/last"), size, io::repeat(b'b')).unwrap();
        let archive = writer.finish().unwrap();
        let content_end = 2048 + usize::try_from(size).unwrap();
        let whole = members(&archive).unwrap();
        for cut in content_end..=content_end.next_multiple_of(512) {
            let cut = &archive[..cut];
            assert_eq!(members(cut).unwrap(), whole, "{size}");
            // Whether or not anybody looks at the content.
            assert_eq!(read_members(cut, |_| Ok::<_, ReadError>(())).unwrap(), Ending::Unmarked, "{size}");
        }
        let inside = members(&archive[..content_end - 1]);
        assert!(inside.is_err(), "{size}: {inside:?}");
        let unread = read_members(&archive[..content_end - 1], |_| Ok::<_, ReadError>(()));
        assert!(unread.is_err(), "{size}: {unread:?}");
    }
    // A name is no content: the member that it belongs to is not there.
    let long = header_blocks(&entry(&format!("/{}", "x".repeat(120))), Type::File(0)).unwrap();
    for cut in [512 + 130, 1000, 1024] {
        assert!(members(&long[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn anything_but_zeroes_after_the_end_is_an_error() {
    let mut archive = sample();
    archive.extend([0; 600]);
    archive.push(1);
    assert!(matches!(members(&archive), Err(ReadError::TrailingData)));
}

#[test]
fn names_are_made_relative_or_refused() {
    let cases = [
        ("/base/1", Some("base/1")),
        ("base/1", Some("base/1")),
        ("./base/1", Some("base/1")),
        ("/base/1/", Some("base/1")),
        ("/", Some("")),
        ("./", Some("")),
        ("base//1", Some("base/1")),
        ("..", None),
        ("/../etc", None),
        ("base/../../etc", None),
        ("base/..", None),
        ("//etc/passwd", None),
        ("", None),
    ];
    for (name, expected) in cases {
        let mut writer = Writer::new(Vec::new());
        writer.file(&entry(name), 0, io::empty()).unwrap();
        match (members(&writer.finish().unwrap()), expected) {
            (Ok(read), Some(expected)) => assert_eq!(read[0].0, Path::new(expected), "{name}"),
            (Err(ReadError::UnsafeName(refused)), None) => assert_eq!(refused, name),
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
}

#[test]
fn pipes_and_devices_are_told_and_odd_types_refused() {
    let mut block = header_blocks(&entry("/x"), Type::Directory).unwrap();
    let mut read = |flag| {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&block);
        header.as_mut_bytes()[156] = flag;
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
        members(&block)
    };
    for flag in [b'3', b'4', b'6'] {
        assert_eq!(read(flag).unwrap()[0].1, Kind::Special);
    }
    let error = read(b'Z').unwrap_err();
    assert_eq!(error.to_string(), "the tar archive has a member '/x' of the unsupported type 'Z'");
}

/// As Python and GNU tar write them: the name of the first is the target of the second.
#[test]
fn hard_links_have_checked_targets() {
    for (to, expected) in [("./base/1", Some("base/1")), ("/x", Some("x")), ("../x", None), ("", None)] {
        let block = header_blocks(&entry("/y"), Type::Symlink(to)).unwrap();
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&block);
        header.set_entry_type(tar::EntryType::Link);
        header.set_cksum();
        match (members(header.as_bytes()), expected) {
            (Ok(read), Some(expected)) => assert_eq!(read[0].1, Kind::HardLink(expected.into())),
            (Err(ReadError::UnsafeName(refused)), None) => assert_eq!(refused, to),
            (result, _) => panic!("{to}: {result:?}"),
        }
    }
}

#[test]
fn long_headers_are_not_read_into_memory() {
    for extension in [b'x', b'L', b'K'] {
        for (bytes, is_read) in [(100_000, true), (6 << 30, false)] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::new(extension));
            header.set_size(bytes);
            header.set_cksum();
            let extended = header.as_bytes().chain(io::repeat(b'a').take(bytes.next_multiple_of(512)));
            // The member before is larger than headers may be, and is not read.
            let mut before = Writer::new(Vec::new());
            before.file(&entry("before"), 2 << 20, io::repeat(b'a')).unwrap();
            let before = before.finish().unwrap();
            let source = (&before[..before.len() - 1024]).chain(extended);
            let (sample, mut count, mut taken) = (sample(), 0, 0);
            let source = source.chain(&sample[..]);
            let mut left = source.take(64 << 20);
            let read = read_members(left.by_ref(), |_| {
                count += 1;
                Ok::<_, ReadError>(())
            });
            taken += (64 << 20) - left.limit();
            match is_read {
                true => assert!(read.is_ok() && count == 7, "{extension}: {read:?}, {count}"),
                false => {
                    let error = read.unwrap_err();
                    assert_eq!(
                        error.to_string(),
                        "the headers of a member of the tar archive are longer than 1024 KiB"
                    );
                    assert!(count == 1 && taken < 4 << 20, "{count} members, {taken} bytes");
                }
            }
        }
    }
}

#[test]
fn errors_of_the_source_are_told_from_a_short_archive() {
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            match self.0.read(out)? {
                0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed")),
                count => Ok(count),
            }
        }
    }
    let archive = sample();
    for cut in (0..archive.len()).step_by(100) {
        let result = read_members(Broken(&archive[..cut]), |member| {
            io::copy(member, &mut io::sink()).map_err(ReadError::Archive)?;
            Ok(())
        });
        match result {
            Err(ReadError::Archive(e)) => assert!(e.to_string().contains("connection closed"), "{cut}: {e}"),
            other => panic!("{cut}: {other:?}"),
        }
    }
}

fn run_with_input(mut command: Command, input: &[u8]) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn gnu_tar_reads_ours() {
    let mut tar = Command::new("tar");
    tar.args(["--list", "--verbose", "--numeric-owner", "--full-time", "--utc", "--file", "-"])
        .env("LC_ALL", "C.UTF-8");
    let listed = run_with_input(tar, &sample());
    // Columns are as wide as their content, and names beyond ASCII are escaped or not, by version and locale.
    let plain =
        |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").replace("\\303\\251", "\u{e9}");
    let long = "long\u{e9}".repeat(50);
    let expected = format!(
        "drwx------ 999/999 0 2026-09-21 14:13:20 /
         drwx------ 999/999 0 2026-09-21 14:13:20 /base
         -rw------- 999/999 700 2026-09-21 14:13:20 /base/1
         lrwxrwxrwx 999/999 0 2026-09-21 14:13:20 /pg_tblspc/16384 -> /mnt/space
         -rw------- 999/999 0 2026-09-21 14:13:20 /base/{long}
         -rw------- 999/999 1024 2026-09-21 14:13:20 /base/2"
    );
    assert_eq!(plain(&listed), plain(&expected));
}

#[test]
fn python_reads_ours() {
    let mut python = Command::new("python3");
    python.args([
        "-c",
        "import sys, tarfile\n\
         for m in tarfile.open(fileobj=sys.stdin.buffer, mode='r|'):\n\
         \x20   print(m.type.decode(), m.name, m.size, oct(m.mode), m.uid, m.uname, m.mtime, m.linkname)",
    ]);
    python.env("PYTHONIOENCODING", "utf-8");
    let listed = run_with_input(python, &sample());
    let long = "long\u{e9}".repeat(50);
    let expected = format!(
        "5  0 0o700 999 postgres 1790000000 \n\
         5 /base 0 0o700 999 postgres 1790000000 \n\
         0 /base/1 700 0o600 999 postgres 1790000000 \n\
         2 /pg_tblspc/16384 0 0o777 999 postgres 1790000000 /mnt/space\n\
         0 /base/{long} 0 0o600 999 postgres 1790000000 \n\
         0 /base/2 1024 0o600 999 postgres 1790000000 \n"
    );
    assert_eq!(listed, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_header_comes_back(
        components in prop::collection::vec("[a-zA-Z0-9_é.]{1,70}", 1..8),
        mode in 0_u32..0o10000,
        uid in any::<u32>(),
        size in 0_u64..100,
        mtime in 0_i64..1 << 40,
    ) {
        let components: Vec<_> = components.iter().filter(|c| *c != "." && *c != "..").map(String::as_str).collect();
        prop_assume!(!components.is_empty());
        let path = components.join("/");
        let described = Entry { mode, uid, mtime_seconds: mtime, ..entry(&format!("/{path}")) };
        let mut writer = Writer::new(Vec::new());
        writer.file(&described, size, io::repeat(7)).unwrap();
        writer.directory(&described).unwrap();
        let archive = writer.finish().unwrap();
        let read = members(&archive).unwrap();
        let content = vec![7; usize::try_from(size).unwrap()];
        prop_assert_eq!(&read, &vec![
            (PathBuf::from(&path), Kind::File, mode, content),
            (PathBuf::from(&path), Kind::Directory, mode, vec![]),
        ]);
    }

    #[test]
    fn the_reader_survives_any_bytes(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        position in 0_usize..6144,
    ) {
        let _ = members(&bytes);
        let mut archive = sample();
        let end = archive.len().min(position + bytes.len());
        archive[position..end].copy_from_slice(&bytes[..end - position]);
        let _ = members(&archive);
    }
}
