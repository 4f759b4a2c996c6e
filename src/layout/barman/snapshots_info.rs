//! `snapshots_info` of a `backup.info`: the snapshots of volumes that a backup is made of, and where their volumes were
//! mounted. Source: barman `cloud.py` (`SnapshotsInfo.to_dict`, `SnapshotMetadata.to_dict`), `cloud_providers/aws_s3.py`
//! (`AwsSnapshotsInfo`, `AwsSnapshotMetadata`).

use super::Literal;

/// Snapshots at AWS. What is `None` stands as `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotsInfo {
    /// The account that they belong to.
    pub account_id: Option<String>,
    /// The region that they are in.
    pub region: Option<String>,
    /// Each of them.
    pub snapshots: Vec<Snapshot>,
}

/// A snapshot of one volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// How the volume was mounted.
    pub mount_options: Option<String>,
    /// Where.
    pub mount_point: Option<String>,
    /// The volume's device on the instance.
    pub device_name: Option<String>,
    /// `snap-…`
    pub snapshot_id: String,
    /// Its tag `Name`.
    pub snapshot_name: Option<String>,
    /// Who may end its lock, where it was locked.
    pub lock_mode: Option<String>,
}

/// Snapshots that seawall knows nothing of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownSnapshots {
    /// They are not at AWS.
    #[error("they are snapshots of the provider `{0}`")]
    Provider(String),
    /// The description does not say which they are.
    #[error("their description does not say which they are")]
    Incomplete,
}

/// The word for AWS.
const PROVIDER: &str = "aws";

impl SnapshotsInfo {
    /// From what stands in a `backup.info`.
    pub fn parse(literal: &Literal) -> Result<SnapshotsInfo, UnknownSnapshots> {
        let provider =
            literal.get("provider").and_then(Literal::as_str).ok_or(UnknownSnapshots::Incomplete)?;
        if provider != PROVIDER {
            return Err(UnknownSnapshots::Provider(provider.to_owned()));
        }
        let of_provider = |name| text(literal.get("provider_info"), name);
        let snapshots = literal.get("snapshots").and_then(Literal::elements);
        let snapshots = snapshots.ok_or(UnknownSnapshots::Incomplete)?;
        Ok(SnapshotsInfo {
            account_id: of_provider("account_id"),
            region: of_provider("region"),
            snapshots: snapshots.iter().map(Snapshot::parse).collect::<Result<_, _>>()?,
        })
    }

    /// As it stands in a `backup.info`.
    pub fn literal(&self) -> Literal {
        Literal::dict([
            ("provider", Literal::Str(PROVIDER.to_owned())),
            (
                "provider_info",
                Literal::dict([("account_id", or_none(&self.account_id)), ("region", or_none(&self.region))]),
            ),
            ("snapshots", Literal::List(self.snapshots.iter().map(Snapshot::literal).collect())),
        ])
    }

    /// The ids of the snapshots.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.snapshots.iter().map(|snapshot| snapshot.snapshot_id.as_str())
    }
}

impl Snapshot {
    fn parse(literal: &Literal) -> Result<Snapshot, UnknownSnapshots> {
        let (mount, provider) = (literal.get("mount"), literal.get("provider"));
        Ok(Snapshot {
            mount_options: text(mount, "mount_options"),
            mount_point: text(mount, "mount_point"),
            device_name: text(provider, "device_name"),
            snapshot_id: text(provider, "snapshot_id").ok_or(UnknownSnapshots::Incomplete)?,
            snapshot_name: text(provider, "snapshot_name"),
            lock_mode: text(provider, "snapshot_lock_mode"),
        })
    }

    fn literal(&self) -> Literal {
        let mount =
            [("mount_options", or_none(&self.mount_options)), ("mount_point", or_none(&self.mount_point))];
        let provider = [
            ("device_name", or_none(&self.device_name)),
            ("snapshot_id", Literal::Str(self.snapshot_id.clone())),
            ("snapshot_name", or_none(&self.snapshot_name)),
            ("snapshot_lock_mode", or_none(&self.lock_mode)),
        ];
        Literal::dict([("mount", Literal::dict(mount)), ("provider", Literal::dict(provider))])
    }
}

fn or_none(text: &Option<String>) -> Literal {
    text.clone().map_or(Literal::None, Literal::Str)
}

fn text(dict: Option<&Literal>, name: &str) -> Option<String> {
    dict?.get(name)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As barman 3.19.1 wrote it.
    const WRITTEN: &str = "{'provider': 'aws', 'provider_info': {'account_id': '123456789012', 'region': 'us-east-1'}, \
        'snapshots': [{'mount': {'mount_options': 'rw,relatime', 'mount_point': '/data'}, 'provider': {'device_name': \
        '/dev/sdf', 'snapshot_id': 'snap-1', 'snapshot_name': 'data-20261122t100000', 'snapshot_lock_mode': None}}]}";

    #[test]
    fn what_is_read_is_written_again() {
        let info = SnapshotsInfo::parse(&Literal::parse(WRITTEN).unwrap()).unwrap();
        assert_eq!(info.literal().to_string(), WRITTEN);
        assert_eq!(
            (info.region.as_deref(), info.ids().collect::<Vec<_>>()),
            (Some("us-east-1"), vec!["snap-1"])
        );
    }

    #[test]
    fn what_is_unknown() {
        for (text, expected) in [
            ("{'provider': 'gcp', 'snapshots': []}", UnknownSnapshots::Provider("gcp".to_owned())),
            ("{'provider': 'aws'}", UnknownSnapshots::Incomplete),
            ("{'provider': 'aws', 'snapshots': [{'provider': {}}]}", UnknownSnapshots::Incomplete),
            ("{}", UnknownSnapshots::Incomplete),
            ("[]", UnknownSnapshots::Incomplete),
        ] {
            assert_eq!(SnapshotsInfo::parse(&Literal::parse(text).unwrap()), Err(expected), "{text}");
        }
    }
}
