//! Which volumes of an instance are meant. Pure. Source: barman `aws_s3.py`, `_get_requested_volumes`, `_lookup_volume`.

use super::{Error, Instance, Volume};

/// A volume that an instance has, and that it was not started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// As it was asked for: id or name.
    pub disk: String,
    /// `vol-…`
    pub volume_id: String,
    /// The device by the volume's own account: `/dev/sdf`.
    pub device: String,
    /// The device by the instance's account, which is what a backup keeps.
    pub device_name: String,
    /// Whether the instance's devices have the names of Xen's old kind of machines.
    pub is_paravirtual: bool,
    /// The snapshot that it was made from.
    pub snapshot_id: Option<String>,
}

impl Attached {
    /// Those of `disks` that the instance has, each id or tag `Name` once. [`Error::NotAttached`] with all that it has not, or
    /// that it was started from.
    pub fn chosen(instance: &Instance, volumes: &[Volume], disks: &[String]) -> Result<Vec<Attached>, Error> {
        let (mut chosen, mut missing) = (Vec::<Attached>::new(), Vec::new());
        for disk in disks {
            match lookup(volumes, disk)?.and_then(|volume| attached(instance, volume, disk)) {
                Some(found) if chosen.iter().any(|known| known.volume_id == found.volume_id) => {}
                Some(found) => chosen.push(found),
                None => missing.push(disk.clone()),
            }
        }
        match missing.is_empty() {
            true => Ok(chosen),
            false => Err(Error::NotAttached { instance: instance.id.clone(), disks: missing }),
        }
    }

    /// All that the instance has.
    pub fn all(instance: &Instance, volumes: &[Volume]) -> Vec<Attached> {
        let of_instance = instance.devices.iter().filter_map(|device| {
            let volume = volumes.iter().find(|volume| volume.id == device.volume_id)?;
            attached(instance, volume, &volume.id)
        });
        of_instance.collect()
    }
}

/// The volume of this id, or else with this name.
fn lookup<'a>(volumes: &'a [Volume], disk: &str) -> Result<Option<&'a Volume>, Error> {
    if let Some(volume) = volumes.iter().find(|volume| volume.id == disk) {
        return Ok(Some(volume));
    }
    let named: Vec<&Volume> = volumes.iter().filter(|volume| volume.name.as_deref() == Some(disk)).collect();
    match named.as_slice() {
        [] => Ok(None),
        [volume] => Ok(Some(volume)),
        several => Err(Error::SeveralVolumes {
            name: disk.to_owned(),
            ids: several.iter().map(|volume| volume.id.clone()).collect(),
        }),
    }
}

fn attached(instance: &Instance, volume: &Volume, disk: &str) -> Option<Attached> {
    let attachment = volume.attachments.iter().find(|attachment| attachment.instance_id == instance.id)?;
    let device = &attachment.device;
    let by_instance = instance.devices.iter().find(|known| known.volume_id == volume.id)?;
    (instance.root_device.as_ref() != Some(device)).then(|| Attached {
        disk: disk.to_owned(),
        volume_id: volume.id.clone(),
        device: device.clone(),
        device_name: by_instance.device_name.clone(),
        is_paravirtual: instance.is_paravirtual,
        snapshot_id: volume.snapshot_id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Attachment, BlockDevice};
    use super::*;

    fn instance() -> Instance {
        let device = |device_name: &str, volume_id: &str| BlockDevice {
            device_name: device_name.to_owned(),
            volume_id: volume_id.to_owned(),
        };
        Instance {
            id: "i-1".to_owned(),
            root_device: Some("/dev/sda1".to_owned()),
            is_paravirtual: false,
            devices: vec![
                device("/dev/sda1", "vol-0"),
                device("/dev/sdf", "vol-1"),
                device("/dev/sdg", "vol-2"),
            ],
        }
    }

    fn volume(id: &str, name: &str, device: &str) -> Volume {
        let attachment =
            |instance: &str| Attachment { instance_id: instance.to_owned(), device: device.to_owned() };
        Volume {
            id: id.to_owned(),
            name: Some(name.to_owned()),
            snapshot_id: Some(format!("snap-of-{id}")),
            attachments: vec![attachment("i-2"), attachment("i-1")],
        }
    }

    fn volumes() -> Vec<Volume> {
        vec![
            volume("vol-0", "root", "/dev/sda1"),
            volume("vol-1", "data", "/dev/sdf"),
            volume("vol-2", "wal", "/dev/sdg"),
        ]
    }

    fn chosen(volumes: &[Volume], disks: &[&str]) -> Result<Vec<String>, Error> {
        let disks: Vec<String> = disks.iter().map(|disk| (*disk).to_owned()).collect();
        let chosen = Attached::chosen(&instance(), volumes, &disks)?;
        Ok(chosen.into_iter().map(|attached| format!("{}={}", attached.disk, attached.volume_id)).collect())
    }

    #[test]
    fn by_id_else_by_name() {
        assert_eq!(chosen(&volumes(), &["wal", "vol-1", "data"]).unwrap(), ["wal=vol-2", "vol-1=vol-1"]);
        let odd = [volume("vol-1", "vol-2", "/dev/sdf"), volume("vol-2", "data", "/dev/sdg")];
        assert_eq!(chosen(&odd, &["vol-2"]).unwrap(), ["vol-2=vol-2"]);
        let all = Attached::all(&instance(), &volumes());
        assert_eq!(all.iter().map(|attached| attached.disk.as_str()).collect::<Vec<_>>(), ["vol-1", "vol-2"]);
        assert_eq!(all[0].snapshot_id.as_deref(), Some("snap-of-vol-1"));
    }

    #[test]
    fn what_is_not_there_or_not_alone() {
        let error = chosen(&volumes(), &["data", "vol-9", "root"]).unwrap_err();
        assert!(matches!(&error, Error::NotAttached { disks, .. } if disks == &["vol-9", "root"]), "{error}");
        let twins = [volume("vol-1", "data", "/dev/sdf"), volume("vol-2", "data", "/dev/sdg")];
        assert!(
            matches!(chosen(&twins, &["data"]), Err(Error::SeveralVolumes { ids, .. }) if ids.len() == 2)
        );
        let mut elsewhere = volumes();
        elsewhere[1].attachments.pop();
        assert!(matches!(chosen(&elsewhere, &["data"]), Err(Error::NotAttached { .. })));
    }
}
