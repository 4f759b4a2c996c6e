//! Asks the storage for what it was given, before a marker says that the backup is whole.
//!
//! One listing has all sizes. Some services list an object late (Swift's listings are made after the fact), so those
//! that it lacks are asked for one by one.

use std::collections::{BTreeMap, HashMap};

use crate::checksum::Checksum;
use crate::ops::Error;
use crate::storage::{self, Depth, Key, Prefix, Storage};

use super::unconfirmed::Unconfirmed;

/// Makes sure that every tar of the backup in this folder is there in its size; [`Unconfirmed::NotStored`] names the first that
/// is not.
pub(super) async fn tars(
    storage: &dyn Storage,
    folder: &Prefix,
    tars: &BTreeMap<Key, Checksum>,
) -> Result<(), Error> {
    let listing = storage::list_all(storage, folder, Depth::All).await?;
    let listed: HashMap<Key, u64> =
        listing.objects.into_iter().map(|object| (object.key, object.size)).collect();
    for (key, Checksum { size: sent, .. }) in tars {
        if listed.get(key) != Some(sent) {
            let found = storage.head(key).await?.map(|object| object.size);
            if found != Some(*sent) {
                return Err(Unconfirmed::NotStored { key: key.clone(), sent: *sent, found }.into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::{Memory, Operation};

    #[tokio::test]
    async fn a_tar_that_is_gone_or_another_one_is_noticed() {
        let (first, second) = (Key::parse("b/1.tar").unwrap(), Key::parse("b/2.tar").unwrap());
        let stored = BTreeMap::from([&first, &second].map(|key| (key.clone(), Checksum::of(b"abc"))));
        let (folder, elsewhere) = (Prefix::parse("b").unwrap(), Prefix::parse("c").unwrap());
        let memory = Memory::new();
        memory.set(&first, "abc");
        for (content, expected) in [(None, None), (Some("ab"), Some(2)), (Some("abcd"), Some(4))] {
            if let Some(content) = content {
                memory.set(&second, content);
            }
            match tars(&memory, &folder, &stored).await {
                Err(Error::Unconfirmed(Unconfirmed::NotStored { key, sent: 3, found })) => {
                    assert_eq!((key, found), (second.clone(), expected))
                }
                other => panic!("{content:?}: {other:?}"),
            }
        }
        memory.set(&second, "abc");
        let heads = memory.calls(Operation::Head);
        tars(&memory, &folder, &stored).await.unwrap();
        assert_eq!(memory.calls(Operation::Head), heads, "the listing has it all");
        // A listing that knows nothing yet.
        tars(&memory, &elsewhere, &stored).await.unwrap();
    }
}
