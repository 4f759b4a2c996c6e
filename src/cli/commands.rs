//! Each command: its settings, its operation, its output.

use indicatif::MultiProgress;
use secrecy::ExposeSecret;

use crate::ops;
use crate::ops::backup_list::BackupList;
use crate::ops::wal_fetch::Recovery;
use crate::ops::wal_verify::CheckStatus;
use crate::settings::keys::Visibility;
use crate::settings::{Environment, Section, Settings, Sources, keys, user_home};

use super::arguments::Invocation;
use super::backup_output::{self, ListFormat};
use super::exit::Codes;
use super::session::{self, Content, Program, Session, Threads};
use super::walg::{
    Arguments, BackupFetchArgs, BackupListArgs, BackupMarkArgs, BackupPushArgs, BackupShowArgs, Command,
    ConfigCommand, Configured, DeleteArgs, Local, RateLimits, StorageCheckArgs, StorageCommand, WalFetchArgs,
    WalPrefetchArgs, WalPushArgs, WalShowArgs, WalVerifyArgs,
};
use super::{Error, barman, log, printer, process, reference, show, storage_output, wal_output};

/// Settings that concern every command which uses the storage.
const STORAGE: [Section; 3] = [Section::Storage, Section::S3, Section::Program];

/// Those that concern commands which read and write content.
const WAL: [Section; 6] = [
    Section::Storage,
    Section::S3,
    Section::Program,
    Section::Compression,
    Section::Encryption,
    Section::Wal,
];

/// Those that concern taking a backup.
const BACKUP: [Section; 6] = [
    Section::Storage,
    Section::S3,
    Section::Program,
    Section::Compression,
    Section::Encryption,
    Section::Backup,
];

/// Those that concern restoring one.
const RESTORE: [Section; 5] =
    [Section::Storage, Section::S3, Section::Program, Section::Encryption, Section::Restore];

/// Runs a command. `set_codes` is told when its exit codes are other than the command line made believe.
pub fn run(invocation: Invocation, set_codes: impl FnOnce(Codes)) -> Result<(), Error> {
    let program = program(&invocation);
    let Arguments { config, command, turbo, .. } = invocation.arguments;
    let command = match command {
        Command::Local(command) => return local(command),
        Command::Configured(command) => command,
    };
    let environment = Environment::of_process();
    let sources = Sources { flags: invocation.settings, environment, config, user_home: user_home() };
    let settings = Settings::load(sources)?;
    let bars = MultiProgress::new();
    log::start(log::LogConfig::from_settings(&settings)?, bars.clone());
    if !settings.bool(&keys::RECOVERY_EXIT_126)? {
        set_codes(match command {
            Configured::WalFetch(_) => Codes::WalFetch { recovery: Recovery::AsksAgain },
            _ => Codes::Plain,
        });
    }
    let session = Session { settings, bars, program };
    if let Some(sections) = sections(&command) {
        session.warn(sections);
    }
    let limits = if turbo { RateLimits::Ignore } else { RateLimits::Respect };
    match command {
        Configured::WalPush(arguments) => wal_push(&session, &arguments),
        Configured::WalFetch(arguments) => wal_fetch(&session, &arguments),
        Configured::WalPrefetch(arguments) => wal_prefetch(&session, &arguments),
        Configured::WalShow(arguments) => wal_show(&session, &arguments),
        Configured::WalVerify(arguments) => wal_verify(&session, &arguments),
        Configured::BackupPush(arguments) => backup_push(&session, &arguments, limits),
        Configured::BackupFetch(arguments) => backup_fetch(&session, &arguments, limits),
        Configured::BackupList(arguments) => backup_list(&session, &arguments),
        Configured::BackupShow(arguments) => backup_show(&session, &arguments),
        Configured::BackupMark(arguments) => backup_mark(&session, &arguments),
        Configured::Delete(arguments) => delete(&session, &arguments),
        Configured::Storage(StorageCommand::Check(arguments)) => storage_check(&session, &arguments),
        Configured::Config(ConfigCommand::Show(arguments)) => {
            let format = if arguments.json { show::Format::Json } else { show::Format::Text };
            show::run(&session.settings, format)
        }
    }
}

fn local(command: Local) -> Result<(), Error> {
    match command {
        Local::Flags => printer::print(&reference::flags()),
        Local::Completion(completion) => printer::print(&reference::completion(completion.shell)),
        Local::Man => printer::print(&reference::manual()?),
        Local::InstallLinks(arguments) => barman::links::install(&arguments.directory),
    }
}

/// The settings that concern a command; `None` where nobody reads a warning.
fn sections(command: &Configured) -> Option<&'static [Section]> {
    match command {
        Configured::WalPush(_) | Configured::WalFetch(_) => Some(&WAL),
        Configured::WalPrefetch(_) => None,
        Configured::BackupPush(_) => Some(&BACKUP),
        Configured::BackupFetch(_) => Some(&RESTORE),
        Configured::WalShow(_)
        | Configured::WalVerify(_)
        | Configured::BackupList(_)
        | Configured::BackupShow(_)
        | Configured::BackupMark(_)
        | Configured::Delete(_)
        | Configured::Storage(_) => Some(&STORAGE),
        Configured::Config(_) => Some(&[]),
    }
}

fn wal_push(session: &Session, arguments: &WalPushArgs) -> Result<(), Error> {
    let options = arguments.options(&session.settings)?;
    session.run(Threads::One, Content::Coded, async |context| {
        ops::wal_push::run(&context, &arguments.file, options).await
    })?;
    Ok(())
}

fn wal_fetch(session: &Session, arguments: &WalFetchArgs) -> Result<(), Error> {
    let options = arguments.options(&session.settings, session.program.clone())?;
    session.run(Threads::One, Content::Coded, async |context| {
        ops::wal_fetch::run(&context, &arguments.name, &arguments.destination, options).await
    })
}

fn wal_prefetch(session: &Session, arguments: &WalPrefetchArgs) -> Result<(), Error> {
    process::detach();
    let options = arguments.options(&session.settings)?;
    session.run(Threads::One, Content::Coded, async |context| {
        ops::wal_prefetch::run(&context, arguments.segment, &arguments.destination, options).await
    })
}

fn wal_show(session: &Session, arguments: &WalShowArgs) -> Result<(), Error> {
    let options = arguments.options(&session.settings)?;
    let timelines = session
        .run(Threads::One, Content::Coded, async |context| ops::wal_show::run(&context, options).await)?;
    printer::print(&match arguments.detailed_json {
        true => wal_output::show_json(&timelines)?,
        false => wal_output::show_table(&timelines, options.backups),
    })
}

fn wal_verify(session: &Session, arguments: &WalVerifyArgs) -> Result<(), Error> {
    let place = match arguments.place()? {
        Some(place) => place,
        None => session.server_place()?,
    };
    let options = arguments.options(&session.settings, place)?;
    let verification = session
        .run(Threads::One, Content::Coded, async |context| ops::wal_verify::run(&context, options).await)?;
    printer::print(&match arguments.json {
        true => wal_output::verify_json(&verification)?,
        false => wal_output::verify_text(&verification),
    })?;
    match (verification.status(), &verification.integrity) {
        (CheckStatus::Failure, _) => Err(Error::VerificationFailed),
        (_, Some(integrity)) if !integrity.has_backup => Err(Error::NoBaseBackup),
        (CheckStatus::Ok | CheckStatus::Warning, _) => Ok(()),
    }
}

fn backup_push(session: &Session, arguments: &BackupPushArgs, limits: RateLimits) -> Result<(), Error> {
    let options = arguments.options(&session.settings, limits)?;
    session.run_shown("backup-push", Content::Coded, async |context| {
        ops::backup_push::run(&context, options).await
    })?;
    Ok(())
}

fn backup_fetch(session: &Session, arguments: &BackupFetchArgs, limits: RateLimits) -> Result<(), Error> {
    let options = arguments.options(&session.settings, limits)?;
    let choice = arguments.choice(&session.settings)?;
    let restore_spec = arguments.restore_spec()?;
    session.run_shown("backup-fetch", Content::Coded, async |context| {
        let plan = ops::backup_fetch::Plan::walg(&context, &choice, restore_spec.as_ref()).await?;
        ops::backup_fetch::run(&context, plan, options).await
    })
}

fn backup_list(session: &Session, arguments: &BackupListArgs) -> Result<(), Error> {
    let options = arguments.options(&session.settings)?;
    let list = session
        .run(Threads::One, Content::Plain, async |context| ops::backup_list::run(&context, options).await)?;
    let format = arguments.format.format();
    tell_of_missing_backups(&list, format);
    printer::print(&match arguments.tree {
        true => backup_output::tree(&list.backups),
        false => backup_output::list(&list.backups, options.detail, format)?,
    })
}

fn backup_show(session: &Session, arguments: &BackupShowArgs) -> Result<(), Error> {
    let options = arguments.options()?;
    let shown = session
        .run(Threads::One, Content::Plain, async |context| ops::backup_show::run(&context, options).await)?;
    printer::print(&backup_output::show(&shown, arguments.format.format())?)
}

fn backup_mark(session: &Session, arguments: &BackupMarkArgs) -> Result<(), Error> {
    let options = arguments.options()?;
    session
        .run(Threads::One, Content::Plain, async |context| ops::backup_mark::run(&context, options).await)?;
    Ok(())
}

fn delete(session: &Session, arguments: &DeleteArgs) -> Result<(), Error> {
    let options = arguments.options(&session.settings)?;
    let deletion = session
        .run_shown("delete", Content::Plain, async |context| ops::delete::run(&context, options).await)?;
    match deletion.removal.failed.len() {
        0 => Ok(()),
        failed => Err(Error::NotDeleted(failed)),
    }
}

fn storage_check(session: &Session, arguments: &StorageCheckArgs) -> Result<(), Error> {
    let (config, policy) = (session.settings.storage_config()?, session.settings.retry_policy()?);
    let context = session.context(Content::Plain)?;
    let location = context.storage.location().clone();
    let findings = session::run(context, Threads::Two, async |context| {
        Box::pin(ops::storage_check::run(&context, config, policy)).await
    })?;
    printer::print(&match arguments.json {
        true => storage_output::check_json(&location, &findings)?,
        false => storage_output::check_table(&location, &findings),
    })?;
    match findings.all_needed_works() {
        true => Ok(()),
        false => Err(Error::StorageUnfit),
    }
}

/// How to start this program with the same settings. A variable of the same name as a flag counts as much where the flag
/// is not given.
fn program(invocation: &Invocation) -> Program {
    let mut program = Program { command: vec![process::own_path()], secrets: Vec::new() };
    if let Some(config) = &invocation.arguments.config {
        program.command.extend(["--config".into(), config.into()]);
    }
    for (flag, text) in &invocation.settings {
        let name = flag.to_ascii_uppercase().replace('-', "_");
        match keys::find(&name).map(|key| key.visibility) {
            Some(Visibility::Secret) => program.secrets.push((name, text.clone())),
            _ => program.command.push(format!("--{flag}={}", text.expose_secret()).into()),
        }
    }
    program
}

/// No backups is a success with an empty list; it is said on stderr, and louder when there is WAL.
fn tell_of_missing_backups(list: &BackupList, format: ListFormat) {
    if !list.backups.is_empty() {
        return;
    }
    if matches!(format, ListFormat::Plain | ListFormat::Pretty) {
        tracing::info!("No backups found");
    }
    if let Some(wal_alone) = &list.wal_alone {
        tracing::warn!("{wal_alone}");
    }
}
