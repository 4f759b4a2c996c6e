//! EC2 of one region.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::storage::retry::{self, Class, RetryPolicy};
use crate::storage::s3::{QueryConfig, QueryService};
use crate::storage::{self, Location, RetryAdvice};

use super::answer::{self, Page};
use super::refused::{self, Refused};
use super::request::Request;
use super::xml::Element;
use super::{
    Account, CreatedSnapshot, Error, Instance, LockTime, MARK, NewSnapshot, SnapshotLock, SnapshotState,
    State, Volume,
};

/// The states of an instance that is not gone (barman `aws_s3.py`, `_get_instance_metadata`).
const NOT_TERMINATED: [&str; 5] = ["pending", "running", "shutting-down", "stopping", "stopped"];

/// The longest time between two looks at snapshots that are not complete, as barman waits.
const LOOK: Duration = Duration::from_secs(15);

/// The shortest one, from which on it doubles.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// How long a snapshot that was just made may not be found: what EC2 tells is a little late at times.
const UNSEEN: Duration = Duration::from_secs(60);

/// The filter for [`MARK`].
const MARK_FILTER: &str = "tag:seawall-backup";

/// EC2 of one region. Clones share connections and keys.
#[derive(Debug, Clone)]
pub struct Ec2 {
    service: QueryService,
    region: String,
    policy: RetryPolicy,
}

/// What has become of a snapshot that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone now.
    Now,
    /// There was none of this id.
    Before,
}

impl Account {
    /// EC2 of a region. Makes no request; fails when none could be made.
    pub fn in_region(&self, region: &str) -> Result<Ec2, Error> {
        let config = QueryConfig {
            service: "ec2",
            region: region.to_owned(),
            endpoint: self.endpoint.clone(),
            endpoint_setting: "AWS_ENDPOINT_URL_EC2",
            credentials: self.credentials.clone(),
            ca_bundle: self.ca_bundle.clone(),
        };
        let service = QueryService::open(config, &self.policy)?;
        Ok(Ec2 { service, region: region.to_owned(), policy: self.policy })
    }
}

impl Ec2 {
    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    fn location(&self) -> &Location {
        self.service.location()
    }

    /// The instance of this id, or else with this tag `Name`. [`Error::NoInstance`], and an error where several have it.
    pub async fn instance(&self, identifier: &str) -> Result<Instance, Error> {
        let of = |request: Request| request.filtered("instance-state-name", NOT_TERMINATED);
        let by_id = match identifier.starts_with("i-") {
            true => {
                let request = Request::new("DescribeInstances").with("InstanceId.1", identifier);
                match self.list(of(request), answer::instances).await {
                    Ok(found) => Some(found),
                    // It is a name that looks like an id.
                    Err(Error::Refused(refused)) if refused.code == refused::MALFORMED_INSTANCE => None,
                    Err(Error::Refused(refused)) if refused.code == refused::NO_INSTANCE => Some(Vec::new()),
                    Err(error) => return Err(error),
                }
            }
            false => None,
        };
        let found = match by_id {
            Some(found) => found,
            None => {
                let request = Request::new("DescribeInstances").filtered("tag:Name", [identifier]);
                self.list(of(request), answer::instances).await?
            }
        };
        match <[Instance; 1]>::try_from(found) {
            Ok([instance]) => Ok(instance),
            Err(none) if none.is_empty() => {
                Err(Error::NoInstance { instance: identifier.to_owned(), location: self.location().clone() })
            }
            Err(several) => Err(Error::SeveralInstances {
                name: identifier.to_owned(),
                ids: several.into_iter().map(|instance| instance.id).collect(),
            }),
        }
    }

    /// The volumes that are attached to an instance.
    pub async fn volumes(&self, instance: &Instance) -> Result<Vec<Volume>, Error> {
        let request =
            Request::new("DescribeVolumes").filtered("attachment.instance-id", [instance.id.as_str()]);
        self.list(request, answer::volumes).await
    }

    /// Begins a snapshot. Its content is that of the volume at this moment.
    pub async fn create_snapshot(&self, new: &NewSnapshot) -> Result<CreatedSnapshot, Error> {
        let tag = "TagSpecification.1";
        let mut request = Request::new("CreateSnapshot")
            .with("VolumeId", &new.volume_id)
            .with(format!("{tag}.ResourceType"), "snapshot");
        let own = [("Name", new.name.as_str()), (MARK, new.mark.as_str())];
        let tags = new.tags.iter().map(|tag| (tag.key.as_str(), tag.value.as_str()));
        for (number, (key, value)) in (1..).zip(own.into_iter().chain(tags)) {
            request = request.with(format!("{tag}.Tag.{number}.Key"), key);
            request = request.with(format!("{tag}.Tag.{number}.Value"), value);
        }
        // An answer that was lost may have been that of a snapshot, and two would be paid for.
        let asked = AtomicBool::new(false);
        let attempt = async || {
            if asked.swap(true, Ordering::Relaxed)
                && let Some(SnapshotState { id, owner_id, state, .. }) = self.once_snapshot(new).await?
            {
                return Ok(Ok(CreatedSnapshot { id, owner_id, state }));
            }
            self.once(&request, answer::created).await
        };
        self.bounded(Class::Transfer, request.action, attempt).await
    }

    /// Keeps a snapshot from being deleted.
    pub async fn lock_snapshot(&self, id: &str, lock: &SnapshotLock) -> Result<(), Error> {
        let request = Request::new("LockSnapshot").with("SnapshotId", id).with("LockMode", lock.mode.word());
        let request = match lock.lasts {
            LockTime::Days(days) => request.with("LockDuration", days.to_string()),
            LockTime::Until(time) => request.with("ExpirationDate", format!("{time}Z")),
        };
        let request = match lock.cool_off_hours {
            Some(hours) => request.with("CoolOffPeriod", hours.to_string()),
            None => request,
        };
        let attempt = async || self.once(&request, |_| Ok(())).await;
        self.bounded(Class::Transfer, request.action, attempt).await
    }

    /// Waits until all these snapshots are stored, for `limit` at the most. [`Error::NotCompleted`] then, and
    /// [`Error::SnapshotFailed`] when one failed. A service that does not answer in between is waited for too.
    pub async fn completed(&self, ids: &[String], limit: Duration) -> Result<(), Error> {
        let (since, mut wait) = (Instant::now(), FIRST_LOOK);
        loop {
            let pending = match self.states(ids).await {
                Ok(states) => pending(states)?,
                Err(Error::Refused(refused))
                    if refused.code == refused::NO_SNAPSHOT && since.elapsed() < UNSEEN =>
                {
                    ids.iter().map(|id| (id.clone(), None)).collect()
                }
                Err(Error::Service(error))
                    if error.retry() != RetryAdvice::Never && since.elapsed() < limit =>
                {
                    tracing::warn!("the snapshots cannot be looked at: {error}");
                    ids.iter().map(|id| (id.clone(), None)).collect()
                }
                Err(error) => return Err(error),
            };
            if pending.is_empty() {
                return Ok(());
            }
            let left = limit.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Err(Error::NotCompleted { snapshots: pending, limit });
            }
            tracing::debug!(?pending, "waiting for snapshots");
            tokio::time::sleep(wait.min(left)).await;
            wait = (2 * wait).min(LOOK);
        }
    }

    async fn states(&self, ids: &[String]) -> Result<Vec<SnapshotState>, Error> {
        let request = Request::new("DescribeSnapshots");
        let request = (1..)
            .zip(ids)
            .fold(request, |request, (number, id)| request.with(format!("SnapshotId.{number}"), id.as_str()));
        let states = self.list(request, answer::snapshots).await?;
        let told: BTreeSet<&str> = states.iter().map(|snapshot| snapshot.id.as_str()).collect();
        match ids.iter().find(|id| !told.contains(id.as_str())) {
            None => Ok(states),
            Some(id) => Err(self.spoiled("DescribeSnapshots", format!("it says nothing of {id}"))),
        }
    }

    /// What has become of a snapshot whose making had no answer; it may be told a little late.
    pub async fn find_snapshot(&self, new: &NewSnapshot) -> Result<Option<SnapshotState>, Error> {
        Ok(self.list(marked(new), answer::snapshots).await?.into_iter().next())
    }

    /// The snapshot that an earlier attempt has made.
    async fn once_snapshot(&self, new: &NewSnapshot) -> storage::Result<Option<SnapshotState>> {
        let found = self.once(&marked(new), answer::snapshots).await?;
        // Whoever may make snapshots and not look at them gets a second one.
        Ok(found.ok().and_then(|page| page.entries.into_iter().next()))
    }

    /// Deletes a snapshot. [`Error::Locked`] when it is kept from that.
    pub async fn delete_snapshot(&self, id: &str) -> Result<Deleted, Error> {
        let request = Request::new("DeleteSnapshot").with("SnapshotId", id);
        let attempt = async || self.once(&request, |_| Ok(())).await;
        match self.bounded(Class::Transfer, request.action, attempt).await {
            Ok(()) => Ok(Deleted::Now),
            Err(Error::Refused(refused)) if refused.code == refused::NO_SNAPSHOT => Ok(Deleted::Before),
            Err(Error::Refused(refused)) if refused.code == refused::LOCKED => {
                Err(Error::Locked(id.to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// All pages of a list.
    async fn list<T>(
        &self,
        request: Request,
        read: impl Fn(&Element<'_>) -> Result<Page<T>, answer::InvalidAnswer>,
    ) -> Result<Vec<T>, Error> {
        let (mut entries, mut seen) = (Vec::new(), BTreeSet::new());
        let mut token: Option<String> = None;
        loop {
            let request = request.clone().page(token.as_deref());
            let attempt = async || self.once(&request, &read).await;
            let page = self.bounded(Class::Ask, request.action, attempt).await?;
            entries.extend(page.entries);
            let Some(next) = page.next else { return Ok(entries) };
            if !seen.insert(next.clone()) {
                return Err(self.spoiled(request.action, "the list goes round".to_owned()));
            }
            token = Some(next);
        }
    }

    /// Repeats an attempt within the bounds of its class.
    async fn bounded<T, F: Future<Output = storage::Result<Result<T, Refused>>>>(
        &self,
        class: Class,
        action: &'static str,
        attempt: impl FnMut() -> F,
    ) -> Result<T, Error> {
        retry::call(&self.policy, class, self.location(), action, attempt)
            .await?
            .map_err(|refused| Error::Refused(Box::new(refused)))
    }

    /// One attempt: what the service answered, or why it refused for good.
    async fn once<T>(
        &self,
        request: &Request,
        read: impl Fn(&Element<'_>) -> Result<T, answer::InvalidAnswer>,
    ) -> storage::Result<Result<T, Refused>> {
        let answer = self.service.call(request.action, request.form()).await?;
        if !(200..300).contains(&answer.status) {
            return refused::of(&answer, request.action, self.location());
        }
        let read = answer::body(&answer, request.action).and_then(|root| read(&root));
        read.map(Ok).map_err(|error| refused::unreadable(request.action, self.location(), error.to_string()))
    }

    fn spoiled(&self, action: &'static str, detail: String) -> Error {
        refused::unreadable(action, self.location(), detail).into()
    }
}

fn marked(new: &NewSnapshot) -> Request {
    let request = Request::new("DescribeSnapshots").with("Owner.1", "self");
    request.filtered("volume-id", [new.volume_id.as_str()]).filtered(MARK_FILTER, [new.mark.as_str()])
}

/// Those that are not stored yet, and how far they are.
fn pending(states: Vec<SnapshotState>) -> Result<Vec<(String, Option<String>)>, Error> {
    let mut pending = Vec::new();
    for SnapshotState { id, state, progress, .. } in states {
        match state {
            State::Completed => {}
            State::Pending => pending.push((id, progress)),
            State::Failed(reason) => return Err(Error::SnapshotFailed { snapshot: id, reason }),
        }
    }
    Ok(pending)
}
