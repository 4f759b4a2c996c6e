//! No answer, or half of one and then silence, at each request of each command: the request is made again after its deadline.

use crate::barman::Wal;
use crate::barman_backups::{Backup, Repo, Restore, Upload};
use crate::case::{Ground, Trial, each_silent_request};
use crate::catalogue::Catalogue;
use crate::copy::Copy;
use crate::require;
use crate::support::{Bucket, Cluster, Postgres};
use crate::walg::{BackupPush, Repository};

fn servers<'a>(ground: &'a Ground, postgres: &Postgres) -> [Cluster<'a>; 4] {
    ["source1", "source2", "source3", "source4"]
        .map(|name| Cluster::running(&ground.scratch, postgres, name, &[]))
}

#[test]
fn is_survived_by_every_command() {
    drop(require!(Bucket::versitygw()));
    let postgres = require!(Postgres::version(15));
    let [ground, archive, restore, fetched] = [(); 4].map(|()| Ground::new());
    let (catalogue, repo, stored) = (Catalogue::new(), Repo::of_three(), Repo::of_a_backup());
    let (clusters, others) = (servers(&ground, &postgres), servers(&repo.ground, &postgres));
    let mut trials: Vec<(&Ground, Box<dyn Trial + '_>)> = Vec::new();
    trials.extend(Repository::new(&ground).trials().map(|trial| (&ground, trial as Box<dyn Trial>)));
    trials.push((&ground, Box::new(BackupPush::new(&clusters))));
    trials.extend(catalogue.trials().into_iter().map(|trial| (&catalogue.ground, trial)));
    trials.push((&archive, Box::new(Wal::archive(&archive))));
    trials.push((&restore, Box::new(Wal::restore(&restore))));
    trials.extend(repo.trials().into_iter().map(|trial| (&repo.ground, trial)));
    trials.push((&repo.ground, Box::new(Backup::new(&repo, &others))));
    trials.extend(Copy::trials(&fetched).map(|trial| (&fetched, Box::new(trial) as Box<dyn Trial>)));
    trials.push((&stored.ground, Box::new(Restore::new(&stored))));
    trials.push((&stored.ground, Box::new(Upload::new(&stored))));
    each_silent_request(&trials);
}
