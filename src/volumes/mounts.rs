//! Where a volume is mounted on this machine.
//!
//! barman asks `findmnt`. Here `/proc/self/mountinfo` is read, which is what that program reads: a minimal image has it
//! always, and what is made of it can be tried from text. The options are put together as `findmnt` does it
//! (util-linux, `libmount/src/fs.c`, `merge_optstr`), since either tool compares them when it restores the other's backup.
//!
//! The device that EC2 names is seldom the one that the kernel has. In order, as barman looks (`aws_s3.py`,
//! `resolve_mounted_volume`): a block device of this very name; `/dev/xvdf` for `/dev/sdf`; on Nitro the NVMe device whose
//! serial number is the id of the volume. Else the name stands, and may be a link of udev's to the device.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Attached, Error};

const MOUNTINFO: &str = "/proc/self/mountinfo";
const BLOCKS: &str = "/sys/block";

/// Devices of root volumes, which no backup is made of.
const ROOT_DEVICES: [&str; 2] = ["/dev/sda1", "/dev/xvda"];

/// Where a file system is mounted, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The directory.
    pub point: String,
    /// `rw,relatime,discard`
    pub options: String,
}

/// What is mounted, and which block devices there are.
#[derive(Debug, Clone)]
pub struct Mounts {
    entries: Vec<Entry>,
    blocks: Vec<Block>,
}

/// A line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// The directory of the file system that is mounted: `/`, but for bind mounts.
    root: String,
    source: String,
    mount: Mount,
}

#[derive(Debug, Clone)]
struct Block {
    /// `nvme1n1`
    name: String,
    /// What it says of itself: `vol0123…` on Nitro.
    serial: Option<String>,
}

impl Mounts {
    /// What is mounted now.
    pub fn read() -> Result<Mounts, Error> {
        let unreadable = |path| move |source: io::Error| Error::Mounts { path, source: Arc::new(source) };
        // Paths are bytes; one that is no text is not where a backup's volume is mounted.
        let text = fs::read(MOUNTINFO).map_err(unreadable(MOUNTINFO))?;
        let mut blocks = Vec::new();
        for block in fs::read_dir(BLOCKS).map_err(unreadable(BLOCKS))?.filter_map(Result::ok) {
            let serial = fs::read_to_string(block.path().join("device/serial")).ok();
            blocks.push(Block { name: block.file_name().to_string_lossy().into_owned(), serial });
        }
        Ok(Mounts { entries: parse(&String::from_utf8_lossy(&text)), blocks })
    }

    /// Where a volume is mounted, or why nowhere.
    pub fn of(&self, volume: &Attached) -> Result<Mount, String> {
        let device = volume.device.as_str();
        if ROOT_DEVICES.contains(&device) {
            return Err(format!("{device} is a root volume"));
        }
        let name = self.kernel_name(volume);
        // Volumes that were attached at the instance's launch may go by a name without /dev/.
        let bare = name.strip_prefix("/dev/").unwrap_or(&name);
        let found = [name.as_str(), bare].into_iter().find_map(|name| self.mounted(name));
        found.cloned().ok_or_else(|| format!("device {device} is mounted nowhere"))
    }

    /// The mount that a path lies on.
    pub fn holding(&self, path: &Path) -> Option<&Mount> {
        let above = self.entries.iter().filter(|entry| path.starts_with(&entry.mount.point));
        // Of two at one place the later one covers the other.
        above.max_by_key(|entry| entry.mount.point.len()).map(|entry| &entry.mount)
    }

    fn kernel_name(&self, volume: &Attached) -> String {
        let prefix = if volume.is_paravirtual { "/dev/hd" } else { "/dev/xvd" };
        let renamed = volume.device.strip_prefix("/dev/sd").map(|rest| format!("{prefix}{rest}"));
        for Block { name, serial } in &self.blocks {
            let device = format!("/dev/{name}");
            let is_volume = serial.as_ref().is_some_and(|serial| {
                let id = volume.volume_id.replacen("vol-", "vol", 1);
                serial.trim() == id || serial.trim() == volume.volume_id
            });
            if device == volume.device
                || Some(&device) == renamed.as_ref()
                || name.starts_with("nvme") && is_volume
            {
                return device;
            }
        }
        volume.device.clone()
    }

    /// The mount of a device, of a whole file system before that of a part.
    fn mounted(&self, device: &str) -> Option<&Mount> {
        let resolved = resolved(device);
        let is_it = |entry: &&Entry| {
            entry.source == device || resolved.is_some() && resolved == self::resolved(&entry.source)
        };
        let mut of_device = self.entries.iter().filter(is_it).collect::<Vec<_>>();
        of_device.sort_by_key(|entry| entry.root != "/");
        of_device.first().map(|entry| &entry.mount)
    }
}

/// What a device's name leads to, where it is a link.
fn resolved(device: &str) -> Option<PathBuf> {
    device.starts_with("/dev/").then(|| fs::canonicalize(device).ok())?
}

/// The lines of mountinfo (proc(5)); what is none is passed over.
fn parse(text: &str) -> Vec<Entry> {
    text.lines().filter_map(entry).collect()
}

/// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/sdf rw,errors=continue`
fn entry(line: &str) -> Option<Entry> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point, of_mount) = (mount.next()?, mount.next()?, mount.next()?);
    let mut file_system = file_system.split(' ').skip(1);
    let (source, of_file_system) = (file_system.next()?, file_system.next()?);
    let mount = Mount { point: unescaped(point), options: merged(of_mount, of_file_system) };
    Some(Entry { root: unescaped(root), source: unescaped(source), mount })
}

/// The options of a mount and of its file system as `findmnt` shows them: `rw` or `ro` once, first.
fn merged(of_mount: &str, of_file_system: &str) -> String {
    if of_mount == of_file_system {
        return of_mount.to_owned();
    }
    let is_read_only =
        [of_mount, of_file_system].into_iter().any(|all| all.split(',').any(|one| one == "ro"));
    let all = of_mount.split(',').chain(of_file_system.split(','));
    let others = all.filter(|option| !matches!(*option, "rw" | "ro" | ""));
    let first = if is_read_only { "ro" } else { "rw" };
    std::iter::once(first).chain(others).collect::<Vec<_>>().join(",")
}

/// Blanks and backslashes stand as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let octal = part.split_at_checked(3);
        match octal.and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 8).ok()?, rest))) {
            Some((byte, rest)) if byte.is_ascii() => {
                plain.push(char::from(byte));
                plain.push_str(rest);
            }
            _ => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "27 1 259:1 / / rw,relatime shared:1 - xfs /dev/nvme0n1p1 rw,attr2\n\
        31 27 259:3 / /var/lib/pg\\040data rw,noatime shared:2 - ext4 /dev/nvme1n1 rw,discard,errors=remount-ro\n\
        32 27 259:3 /wal /srv/wal rw,noatime - ext4 /dev/nvme2n1 ro\n\
        33 27 259:3 / /mnt/wal ro,noatime - ext4 /dev/nvme2n1 rw\n\
        34 27 202:80 / /mnt/old rw - ext3 /dev/xvdf rw\n\
        nonsense\n";

    fn mounts() -> Mounts {
        let block = |name: &str, serial: Option<&str>| Block {
            name: name.to_owned(),
            serial: serial.map(str::to_owned),
        };
        Mounts {
            entries: parse(MOUNTS),
            blocks: vec![
                block("nvme0n1", Some("vol0root\n")),
                block("nvme1n1", Some("vol0123 \n")),
                block("nvme2n1", Some("vol-0456")),
                block("xvdf", None),
            ],
        }
    }

    fn volume(id: &str, device: &str) -> Attached {
        Attached {
            disk: "d".to_owned(),
            volume_id: id.to_owned(),
            device: device.to_owned(),
            device_name: device.to_owned(),
            is_paravirtual: false,
            snapshot_id: None,
        }
    }

    #[test]
    fn devices_by_name_by_new_name_and_by_serial_number() {
        let mounts = mounts();
        for (id, device, expected) in [
            ("vol-0123", "/dev/sdf9", Some(("/var/lib/pg data", "rw,noatime,discard,errors=remount-ro"))),
            ("vol-0456", "/dev/sdg", Some(("/mnt/wal", "ro,noatime"))),
            ("vol-9", "/dev/sdf", Some(("/mnt/old", "rw"))),
            ("vol-9", "/dev/xvdf", Some(("/mnt/old", "rw"))),
            ("vol-9", "/dev/sdh", None),
            ("vol-0123", "/dev/sda1", None),
        ] {
            let found = mounts.of(&volume(id, device)).ok();
            let found = found.as_ref().map(|mount| (mount.point.as_str(), mount.options.as_str()));
            assert_eq!(found, expected, "{id} {device}");
        }
        let paravirtual = Attached { is_paravirtual: true, ..volume("vol-9", "/dev/sdf") };
        assert!(mounts.of(&paravirtual).is_err());
    }

    #[test]
    fn what_a_path_lies_on() {
        let mounts = mounts();
        for (path, expected) in
            [("/var/lib/pg data/15", "/var/lib/pg data"), ("/var/lib/pg dat", "/"), ("/mnt/old", "/mnt/old")]
        {
            assert_eq!(mounts.holding(Path::new(path)).unwrap().point, expected);
        }
    }

    /// As findmnt of util-linux 2.38 shows them.
    #[test]
    fn options_are_put_together() {
        for (of_mount, of_file_system, expected) in [
            ("rw,relatime", "rw,discard", "rw,relatime,discard"),
            ("ro,relatime", "rw", "ro,relatime"),
            ("rw", "rw", "rw"),
            ("rw,nosuid", "rw,size=4k,mode=755", "rw,nosuid,size=4k,mode=755"),
        ] {
            assert_eq!(merged(of_mount, of_file_system), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_panics(text in "([ /a-z,=:\\\\]|\\\\0|\\\\040| - |rw|\u{e4}){0,60}") {
            parse(&text);
        }
    }
}
