//! Which relation is which file, in every database: what a partial restore selects by.
//!
//! A relation with a parent in `pg_inherits` (a partition, an inheriting table, a partition's index) is listed below
//! each of its topmost ancestors, whatever the depth between. Listed is what has files, and partitioned tables and
//! indexes for the sake of their partitions. Source: wal-g `query_runner.go` and `names_metadata.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::Oid;
use super::connection::within;
use super::conninfo::ConnInfo;
use super::session::{Error, LOCK_TIMEOUT, Session};

/// The relations of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseRelations {
    /// The database's name.
    pub name: String,
    /// The database's OID, the name of its directory.
    pub oid: Oid,
    /// Relations without parent by `schema.name`.
    pub relations: BTreeMap<String, Relation>,
}

/// A relation without parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its own identity.
    pub file: RelationIdentity,
    /// All its descendants by `schema.name`.
    pub descendants: BTreeMap<String, RelationIdentity>,
}

/// The two numbers of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelationIdentity {
    /// Its OID.
    pub oid: Oid,
    /// The name of its files; `None` for partitioned relations, which have none.
    pub filenode: Option<Oid>,
}

/// How long one database may take.
const DATABASE: Duration = Duration::from_secs(60);
/// How long all of them together.
const ALL: Duration = Duration::from_secs(600);

/// Lists the relations of every database that takes connections.
///
/// A database that cannot be reached, or does not answer in time, is left out with a warning: a backup is complete without
/// this list.
pub async fn list_relations(info: &ConnInfo) -> Vec<DatabaseRelations> {
    let end = Instant::now() + ALL;
    let mut lists = Vec::new();
    let names = match in_time(end, databases(info)).await {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(error, "no database is in the list for partial restores");
            return lists;
        }
    };
    for (name, oid) in names {
        match in_time(end, relations_of(&info.with_database(&name))).await {
            Ok(relations) => lists.push(DatabaseRelations { name, oid, relations }),
            Err(error) => {
                tracing::warn!(database = name, error, "database left out of the list for partial restores");
            }
        }
    }
    lists
}

/// What comes of `work` in the time of one database, before `end`; the error is the reason.
async fn in_time<T>(end: Instant, work: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    let limit = end.saturating_duration_since(Instant::now()).min(DATABASE);
    within(Some(limit), work).await?.map_err(|error| error.to_string())
}

/// A session of its own, which waits for no lock for long. Its backend ends soon after it is dropped.
async fn impatient(info: &ConnInfo) -> Result<Session, Error> {
    let session = Session::connect(info).await?;
    session.set("lock_timeout", LOCK_TIMEOUT).await?;
    Ok(session)
}

async fn databases(info: &ConnInfo) -> Result<Vec<(String, Oid)>, Error> {
    let action = "list databases";
    let session = impatient(info).await?;
    let sql = "SELECT oid, datname::text FROM pg_database WHERE datallowconn ORDER BY datname";
    let mut databases = Vec::new();
    for row in session.rows(action, sql, &[]).await? {
        let oid = Oid::new(session.get(action, &row, 0)?).ok_or_else(|| session.odd(action, "OID 0"))?;
        databases.push((session.get(action, &row, 1)?, oid));
    }
    session.close().await;
    Ok(databases)
}

async fn relations_of(info: &ConnInfo) -> Result<BTreeMap<String, Relation>, Error> {
    let action = "list relations";
    let session = impatient(info).await?;
    // pg_relation_filenode also knows the catalogs whose number is kept in pg_filenode.map.
    let sql = "SELECT c.oid, coalesce(pg_relation_filenode(c.oid), 0::oid), n.nspname || '.' || c.relname, \
               ARRAY(SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid) \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relpersistence <> 't' \
               AND (c.relkind IN ('p', 'I') OR pg_relation_filenode(c.oid) IS NOT NULL)";
    let mut rows = Vec::new();
    for row in session.rows(action, sql, &[]).await? {
        let oid = Oid::new(session.get(action, &row, 0)?).ok_or_else(|| session.odd(action, "OID 0"))?;
        let filenode = Oid::new(session.get(action, &row, 1)?);
        let parents: Vec<u32> = session.get(action, &row, 3)?;
        rows.push(RelationRow {
            name: session.get(action, &row, 2)?,
            identity: RelationIdentity { oid, filenode },
            parents: parents.into_iter().filter_map(Oid::new).collect(),
        });
    }
    session.close().await;
    Ok(nest(&rows))
}

struct RelationRow {
    name: String,
    identity: RelationIdentity,
    parents: Vec<Oid>,
}

/// Puts each relation below its topmost ancestors.
fn nest(rows: &[RelationRow]) -> BTreeMap<String, Relation> {
    let by_oid: BTreeMap<Oid, &RelationRow> = rows.iter().map(|row| (row.identity.oid, row)).collect();
    let top_level = |row: &&RelationRow| row.parents.iter().all(|parent| !by_oid.contains_key(parent));
    let mut relations: BTreeMap<String, Relation> = rows
        .iter()
        .filter(top_level)
        .map(|row| (row.name.clone(), Relation { file: row.identity, descendants: BTreeMap::new() }))
        .collect();
    for row in rows.iter().filter(|row| !top_level(row)) {
        let mut seen = BTreeSet::new();
        let mut pending = row.parents.clone();
        while let Some(oid) = pending.pop() {
            let Some(ancestor) = by_oid.get(&oid).filter(|_| seen.insert(oid)) else { continue };
            pending.extend(&ancestor.parents);
            if let Some(root) = relations.get_mut(&ancestor.name) {
                root.descendants.insert(row.name.clone(), row.identity);
            }
        }
    }
    relations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, oid: u32, parents: &[u32]) -> RelationRow {
        let oid = Oid::new(oid).unwrap();
        RelationRow {
            name: name.to_owned(),
            identity: RelationIdentity { oid, filenode: Some(oid) },
            parents: parents.iter().filter_map(|&oid| Oid::new(oid)).collect(),
        }
    }

    #[test]
    fn descendants_lie_below_every_topmost_ancestor() {
        let rows = [
            row("s.leaf", 4, &[3]),
            row("s.top", 1, &[]),
            row("s.other", 2, &[]),
            row("s.middle", 3, &[1, 2]),
            row("s.alone", 5, &[]),
            row("s.orphan", 6, &[99]),
        ];
        let relations = nest(&rows);
        let names: Vec<_> = relations.keys().map(String::as_str).collect();
        assert_eq!(names, ["s.alone", "s.orphan", "s.other", "s.top"]);
        for top in ["s.top", "s.other"] {
            let below: Vec<_> = relations[top].descendants.keys().map(String::as_str).collect();
            assert_eq!(below, ["s.leaf", "s.middle"], "{top}");
        }
        assert!(relations["s.alone"].descendants.is_empty());
    }

    #[test]
    fn a_circle_ends() {
        assert!(nest(&[row("s.a", 1, &[2]), row("s.b", 2, &[1])]).is_empty());
    }
}
