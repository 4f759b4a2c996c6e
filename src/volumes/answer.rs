//! What EC2's answers say, from their XML. Pure.
//!
//! Names of elements are those of the API reference, which write them in lower camel case; entries of lists are `item`.

use crate::storage::s3::Answer;

use super::xml::{Element, InvalidXml};
use super::{Attachment, BlockDevice, CreatedSnapshot, Instance, SnapshotState, State, Volume};

/// A page of a list, and the token of the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page<T> {
    pub entries: Vec<T>,
    pub next: Option<String>,
}

/// What a refusal says: `Response/Errors/Error`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: String,
    pub message: String,
    pub request: Option<String>,
}

/// Why an answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidAnswer {
    #[error(transparent)]
    Xml(#[from] InvalidXml),
    #[error("it is `{found}` and not `{expected}`")]
    Another { found: String, expected: String },
    #[error("it has no `{0}`")]
    Lacks(&'static str),
}

/// The body of an answer to `action`.
pub(super) fn body<'a>(answer: &'a Answer, action: &str) -> Result<Element<'a>, InvalidAnswer> {
    let root = Element::parse(&answer.body)?;
    match root.name() == format!("{action}Response") {
        true => Ok(root),
        false => Err(InvalidAnswer::Another {
            found: root.name().to_owned(),
            expected: format!("{action}Response"),
        }),
    }
}

/// What the body of a refusal says, if it is one of EC2.
pub(super) fn refusal(answer: &Answer) -> Option<Refusal> {
    let root = Element::parse(&answer.body).ok()?;
    let error = root.child("Errors").and_then(|errors| errors.child("Error"))?;
    let request = root.text("RequestID").or_else(|| root.text("RequestId"));
    Some(Refusal {
        code: error.text("Code")?.to_owned(),
        message: error.text("Message").unwrap_or_default().to_owned(),
        request: request.map(str::to_owned),
    })
}

/// `DescribeInstances`: instances come in reservations.
pub(super) fn instances(root: &Element<'_>) -> Result<Page<Instance>, InvalidAnswer> {
    let instances = root.items("reservationSet").flat_map(|reservation| reservation.items("instancesSet"));
    page(root, instances, |instance| {
        let devices = instance.items("blockDeviceMapping").filter_map(|mapping| {
            let volume_id = mapping.child("ebs")?.text("volumeId")?.to_owned();
            Some(BlockDevice { device_name: text(mapping, "deviceName")?, volume_id })
        });
        Ok(Instance {
            id: required(instance, "instanceId")?,
            root_device: text(instance, "rootDeviceName"),
            is_paravirtual: instance.text("virtualizationType") == Some("paravirtual"),
            devices: devices.collect(),
        })
    })
}

/// `DescribeVolumes`.
pub(super) fn volumes(root: &Element<'_>) -> Result<Page<Volume>, InvalidAnswer> {
    page(root, root.items("volumeSet"), |volume| {
        let names = volume.items("tagSet").filter(|tag| tag.text("key") == Some("Name"));
        let attachments = volume.items("attachmentSet").filter_map(|attachment| {
            Some(Attachment {
                instance_id: text(attachment, "instanceId")?,
                device: text(attachment, "device")?,
            })
        });
        Ok(Volume {
            id: required(volume, "volumeId")?,
            name: names.filter_map(|tag| text(tag, "value")).next(),
            snapshot_id: text(volume, "snapshotId"),
            attachments: attachments.collect(),
        })
    })
}

/// `CreateSnapshot`.
pub(super) fn created(root: &Element<'_>) -> Result<CreatedSnapshot, InvalidAnswer> {
    Ok(CreatedSnapshot {
        id: required(root, "snapshotId")?,
        owner_id: text(root, "ownerId"),
        state: state(root)?,
    })
}

/// `DescribeSnapshots`.
pub(super) fn snapshots(root: &Element<'_>) -> Result<Page<SnapshotState>, InvalidAnswer> {
    page(root, root.items("snapshotSet"), |snapshot| {
        Ok(SnapshotState {
            id: required(snapshot, "snapshotId")?,
            owner_id: text(snapshot, "ownerId"),
            state: state(snapshot)?,
            progress: text(snapshot, "progress"),
        })
    })
}

fn state(snapshot: &Element<'_>) -> Result<State, InvalidAnswer> {
    Ok(match required(snapshot, "status")?.as_str() {
        "completed" => State::Completed,
        "error" => State::Failed(text(snapshot, "statusMessage").unwrap_or_default()),
        // Also one that waits in the recycle bin's tiers.
        _ => State::Pending,
    })
}

fn page<'a, 'x: 'a, T>(
    root: &Element<'_>,
    entries: impl Iterator<Item = &'a Element<'x>>,
    read: impl Fn(&Element<'x>) -> Result<T, InvalidAnswer>,
) -> Result<Page<T>, InvalidAnswer> {
    Ok(Page { entries: entries.map(read).collect::<Result<_, _>>()?, next: text(root, "nextToken") })
}

fn text(element: &Element<'_>, name: &str) -> Option<String> {
    element.text(name).map(str::to_owned)
}

fn required(element: &Element<'_>, name: &'static str) -> Result<String, InvalidAnswer> {
    text(element, name).ok_or(InvalidAnswer::Lacks(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Answer {
        Answer { status: 200, body: body.to_owned() }
    }

    #[test]
    fn an_instance_with_its_devices() {
        let answer = answer(
            "<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>i-1</instanceId>\
             <rootDeviceName>/dev/sda1</rootDeviceName><virtualizationType>hvm</virtualizationType><blockDeviceMapping>\
             <item><deviceName>/dev/sda1</deviceName><ebs><volumeId>vol-0</volumeId></ebs></item>\
             <item><deviceName>/dev/sdf</deviceName><ebs><volumeId>vol-1</volumeId></ebs></item>\
             <item><deviceName>/dev/sdz</deviceName></item></blockDeviceMapping></item></instancesSet></item>\
             </reservationSet><nextToken>more</nextToken></DescribeInstancesResponse>",
        );
        let page = instances(&body(&answer, "DescribeInstances").unwrap()).unwrap();
        assert_eq!(page.next.as_deref(), Some("more"));
        let [instance] = &page.entries[..] else { panic!("{page:?}") };
        assert_eq!((instance.id.as_str(), instance.root_device.as_deref()), ("i-1", Some("/dev/sda1")));
        assert!(!instance.is_paravirtual);
        let devices: Vec<_> = instance.devices.iter().map(|device| device.volume_id.as_str()).collect();
        assert_eq!(devices, ["vol-0", "vol-1"]);
    }

    #[test]
    fn volumes_by_name_and_origin() {
        let answer = answer(
            "<DescribeVolumesResponse><volumeSet><item><volumeId>vol-1</volumeId><snapshotId/><attachmentSet><item>\
             <instanceId>i-1</instanceId><device>/dev/sdf</device></item></attachmentSet><tagSet><item><key>x</key>\
             <value>y</value></item><item><key>Name</key><value>data &amp; wal</value></item></tagSet></item><item>\
             <volumeId>vol-2</volumeId><snapshotId>snap-1</snapshotId></item></volumeSet></DescribeVolumesResponse>",
        );
        let page = volumes(&body(&answer, "DescribeVolumes").unwrap()).unwrap();
        let facts: Vec<_> = page
            .entries
            .iter()
            .map(|volume| (volume.name.as_deref(), volume.snapshot_id.as_deref(), volume.attachments.len()))
            .collect();
        assert_eq!(facts, [(Some("data & wal"), None, 1), (None, Some("snap-1"), 0)]);
    }

    #[test]
    fn states_of_snapshots() {
        for (status, expected) in [
            ("<status>completed</status>", Ok(State::Completed)),
            ("<status>pending</status>", Ok(State::Pending)),
            (
                "<status>error</status><statusMessage>no key</statusMessage>",
                Ok(State::Failed("no key".to_owned())),
            ),
            ("", Err(InvalidAnswer::Lacks("status"))),
        ] {
            let answer = answer(&format!(
                "<CreateSnapshotResponse><snapshotId>snap-1</snapshotId><ownerId>1</ownerId>{status}</CreateSnapshotResponse>"
            ));
            let found = created(&body(&answer, "CreateSnapshot").unwrap()).map(|created| created.state);
            assert_eq!(found, expected, "{status}");
        }
    }

    #[test]
    fn refusals_and_other_documents() {
        let refused = answer(
            "<Response><Errors><Error><Code>InvalidSnapshot.NotFound</Code><Message>m</Message></Error></Errors>\
             <RequestID>r</RequestID></Response>",
        );
        let refusal = refusal(&refused).unwrap();
        assert_eq!(
            (refusal.code.as_str(), refusal.message.as_str(), refusal.request.as_deref()),
            ("InvalidSnapshot.NotFound", "m", Some("r"))
        );
        assert!(super::refusal(&answer("<html>no</html>")).is_none());
        assert!(matches!(body(&refused, "DeleteSnapshot"), Err(InvalidAnswer::Another { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics(
            action in "DescribeInstances|DescribeVolumes|CreateSnapshot|DescribeSnapshots",
            inner in "(</?(item|reservationSet|instancesSet|volumeSet|tagSet|status|snapshotId|key)/?>|a|&amp;){0,30}",
        ) {
            let answer = answer(&format!("<{action}Response>{inner}</{action}Response>"));
            let _ = refusal(&answer);
            if let Ok(root) = body(&answer, &action) {
                let _ = (instances(&root), volumes(&root), created(&root), snapshots(&root));
            }
        }
    }
}
