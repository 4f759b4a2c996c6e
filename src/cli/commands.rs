//! Each command: its settings, its operation, its output.

use indicatif::MultiProgress;
use secrecy::ExposeSecret;

use crate::ops::wal_fetch::Recovery;
use crate::ops::{
    backup_fetch, backup_list, backup_mark, backup_push, backup_show, delete, storage_check, wal_fetch,
    wal_prefetch, wal_push, wal_show, wal_verify,
};
use crate::settings::keys::Visibility;
use crate::settings::{Environment, Section, Settings, Sources, keys, user_home};

use super::arguments::Invocation;
use super::backup_output::{self, ListFormat};
use super::exit::Codes;
use super::session::{self, Content, Program, Session, Threads};
use super::walg::{Arguments, Command, ConfigCommand, RateLimits, StorageCommand};
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
    // These need no settings, so that a broken configuration file does not stand in their way.
    match &invocation.arguments.command {
        Command::Flags => return printer::print(&reference::flags()),
        Command::Completion(completion) => return printer::print(&reference::completion(completion.shell)),
        Command::Man => return printer::print(&reference::manual()?),
        Command::InstallLinks(arguments) => return barman::links::install(&arguments.directory),
        _ => {}
    }
    let program = program(&invocation);
    let Arguments { config, command, turbo, .. } = invocation.arguments;
    let limits = if turbo { RateLimits::Ignore } else { RateLimits::Respect };
    let environment = Environment::of_process();
    let sources = Sources { flags: invocation.settings, environment, config, user_home: user_home() };
    let settings = Settings::load(sources)?;
    let bars = MultiProgress::new();
    log::start(log::LogConfig::from_settings(&settings)?, bars.clone());
    if !settings.bool(&keys::RECOVERY_EXIT_126)? {
        set_codes(match command {
            Command::WalFetch(_) => Codes::WalFetch { recovery: Recovery::AsksAgain },
            _ => Codes::Plain,
        });
    }
    let session = Session { settings, bars, program };
    match command {
        Command::WalPush(arguments) => {
            session.warn(&WAL);
            let options = arguments.options(&session.settings)?;
            session.run(Threads::One, Content::Coded, async |context| {
                wal_push::run(&context, &arguments.file, options).await
            })?;
            Ok(())
        }
        Command::WalFetch(arguments) => {
            session.warn(&WAL);
            let options = arguments.options(&session.settings, session.program.clone())?;
            session.run(Threads::One, Content::Coded, async |context| {
                wal_fetch::run(&context, &arguments.name, &arguments.destination, options).await
            })
        }
        Command::WalPrefetch(arguments) => {
            process::detach();
            let options = arguments.options(&session.settings)?;
            session.run(Threads::One, Content::Coded, async |context| {
                wal_prefetch::run(&context, arguments.segment, &arguments.destination, options).await
            })
        }
        Command::BackupPush(arguments) => {
            session.warn(&BACKUP);
            let options = arguments.options(&session.settings, limits)?;
            session.run_shown("backup-push", Content::Coded, async |context| {
                backup_push::run(&context, options).await
            })?;
            Ok(())
        }
        Command::BackupFetch(arguments) => {
            session.warn(&RESTORE);
            let options = arguments.options(&session.settings, limits)?;
            let choice = arguments.choice(&session.settings)?;
            let restore_spec = arguments.restore_spec()?;
            session.run_shown("backup-fetch", Content::Coded, async |context| {
                let plan = backup_fetch::Plan::walg(&context, &choice, restore_spec.as_ref()).await?;
                backup_fetch::run(&context, plan, options).await
            })
        }
        Command::WalShow(arguments) => {
            session.warn(&STORAGE);
            let options = arguments.options(&session.settings)?;
            let timelines = session
                .run(Threads::One, Content::Coded, async |context| wal_show::run(&context, options).await)?;
            printer::print(&match arguments.detailed_json {
                true => wal_output::show_json(&timelines)?,
                false => wal_output::show_table(&timelines, options.backups),
            })
        }
        Command::WalVerify(arguments) => {
            session.warn(&STORAGE);
            let place = match arguments.place()? {
                Some(place) => place,
                None => session.server_place()?,
            };
            let options = arguments.options(&session.settings, place)?;
            let verification = session.run(Threads::One, Content::Coded, async |context| {
                wal_verify::run(&context, options).await
            })?;
            printer::print(&match arguments.json {
                true => wal_output::verify_json(&verification)?,
                false => wal_output::verify_text(&verification),
            })?;
            match verification.status() {
                wal_verify::CheckStatus::Failure => Err(Error::VerificationFailed),
                wal_verify::CheckStatus::Ok | wal_verify::CheckStatus::Warning => Ok(()),
            }
        }
        Command::BackupList(arguments) => {
            session.warn(&STORAGE);
            let options = arguments.options();
            let list = session.run(Threads::One, Content::Plain, async |context| {
                backup_list::run(&context, options).await
            })?;
            let format = arguments.format.format();
            tell_of_missing_backups(&list, format);
            printer::print(&match arguments.tree {
                true => backup_output::tree(&list.backups),
                false => backup_output::list(&list.backups, options.detail, format)?,
            })
        }
        Command::BackupShow(arguments) => {
            session.warn(&STORAGE);
            let options = arguments.options()?;
            let shown = session.run(Threads::One, Content::Plain, async |context| {
                backup_show::run(&context, options).await
            })?;
            printer::print(&backup_output::show(&shown, arguments.format.format())?)
        }
        Command::BackupMark(arguments) => {
            session.warn(&STORAGE);
            let options = arguments.options()?;
            session.run(Threads::One, Content::Plain, async |context| {
                backup_mark::run(&context, options).await
            })?;
            Ok(())
        }
        Command::Delete(arguments) => {
            session.warn(&STORAGE);
            let options = arguments.options(&session.settings)?;
            let deletion = session
                .run_shown("delete", Content::Plain, async |context| delete::run(&context, options).await)?;
            match deletion.removal.failed.len() {
                0 => Ok(()),
                failed => Err(Error::NotDeleted(failed)),
            }
        }
        Command::Storage(StorageCommand::Check(arguments)) => {
            session.warn(&STORAGE);
            let (config, policy) = (session.settings.storage_config()?, session.settings.retry_policy()?);
            let context = session.context(Content::Plain)?;
            let location = context.storage.location().clone();
            let findings = session::run(context, Threads::Two, async |context| {
                Box::pin(storage_check::run(&context, config, policy)).await
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
        Command::Config(ConfigCommand::Show(arguments)) => {
            session.warn(&[]);
            let format = if arguments.json { show::Format::Json } else { show::Format::Text };
            show::run(&session.settings, format)
        }
        Command::Flags | Command::Completion(_) | Command::Man | Command::InstallLinks(_) => Ok(()),
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
fn tell_of_missing_backups(list: &backup_list::BackupList, format: ListFormat) {
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
