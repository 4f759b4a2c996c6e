//! `backup` and `restore`.

use crate::cli;
use crate::codec::{Compression, Method};
use crate::pg::ConnInfo;
use crate::pg::connection_string::Keywords;
use crate::settings;

use super::commands::Session;
use super::flags::{
    BZIP2, DBNAME, GZIP, HOST, JOBS, LZ4, MAX_ARCHIVE_SIZE, MAX_BANDWIDTH, MIN_CHUNK_SIZE, NAME, PORT,
    SNAPPY, TABLESPACE, TAG, TAGS, TARGET_TLI, USER,
};
use super::grammar::Flag;
use super::objects::{encryption, tags};
use super::place::Objects;
use super::wal::{cores, hook};
use super::{Error, values};

/// `backup`: takes a base backup of a server on this machine.
pub fn backup(session: &Session) -> Result<(), cli::Error> {
    let objects = Objects {
        tags: tags(session, &TAGS, &TAG)?,
        encryption: encryption(session)?,
        part_bytes: session.parsed(&MIN_CHUNK_SIZE, values::size)?,
        ..Objects::default()
    };
    session.parsed(&JOBS, values::positive)?;
    session.parsed(&MAX_ARCHIVE_SIZE, values::size)?;
    session.parsed(&MAX_BANDWIDTH, values::size)?;
    session.parsed(&NAME, values::backup_name)?;
    let compression = compression(session)?;
    if session.only_tests() {
        return session.probe();
    }
    if hook(&session.environment)?.is_some() {
        return Err(Error::BackupHook.into());
    }
    conninfo(session)?;
    session.context(super::WHOLE_FILES, compression, objects)?;
    Err(cli::Error::Unsupported { what: session.grammar.program.to_owned(), hint: "it is not there yet" })
}

/// `restore`: into an empty directory.
pub fn restore(session: &Session) -> Result<(), cli::Error> {
    session.parsed(&TARGET_TLI, values::target_timeline)?;
    for rule in session.line.values(&TABLESPACE) {
        values::tablespace(rule)
            .map_err(|reason| Error::Usage(session.grammar.wrong_value(&TABLESPACE, reason)))?;
    }
    super::catalogue::other(session)
}

/// How to reach the server: by the flags, or a whole connection string; then by libpq's variables.
fn conninfo(session: &Session) -> Result<ConnInfo, cli::Error> {
    let variable = |name: &str| session.environment.text(name).ok().flatten().map(str::to_owned);
    let line = &session.line;
    let database = line.value(&DBNAME).unwrap_or("postgres");
    let keywords = match database.is_empty() || database.contains('=') {
        true => Keywords::parse(database).map_err(Error::ConnectionString)?,
        false => {
            let flags = [("host", &HOST), ("port", &PORT), ("user", &USER)];
            let given = flags.into_iter().filter_map(|(keyword, flag)| Some((keyword, line.value(flag)?)));
            let given = given.filter(|(_, value)| !value.is_empty());
            given
                .fold(Keywords::default(), |keywords, (keyword, value)| keywords.with(keyword, value))
                .with("dbname", database)
        }
    };
    let keywords = match keywords.get("application_name") {
        Some(_) => keywords,
        None => keywords.with("application_name", APPLICATION),
    };
    Ok(ConnInfo::new(keywords, &variable)?)
}

/// barman's, by which its sessions are known in `pg_stat_activity`.
const APPLICATION: &str = "barman_cloud_backup";

/// The compressions of base backups, by their flags.
static METHODS: [(&Flag, Method); 4] =
    [(&GZIP, Method::Gzip), (&BZIP2, Method::Bzip2), (&SNAPPY, Method::Snappy), (&LZ4, Method::Lz4)];

/// How base backups are compressed.
pub fn compression(session: &Session) -> Result<Compression, cli::Error> {
    let method = METHODS.into_iter().find(|(flag, _)| session.line.has(flag));
    let method = method.map_or(Method::None, |(_, method)| method);
    Compression::of_barman_backup(method, cores()).map_err(|error| settings::Error::from(error).into())
}
