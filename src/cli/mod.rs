//! The command line: what was typed becomes settings, one operation, output and an exit code.
//!
//! Only here are the arguments read, standard output written, and the process ended. The environment is asked for here,
//! too, but for what clients of S3 have always read there by themselves (`docs/architecture.md`).

mod arguments;
pub mod backup_output;
pub mod barman;
mod commands;
mod error;
mod exit;
mod last_error;
mod log;
pub mod printer;
mod process;
pub mod progress;
pub mod reference;
mod session;
mod show;
pub mod signal;
pub mod storage_output;
pub mod table;
pub mod wal_output;
pub mod walg;

use std::ffi::OsString;
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;

use indicatif::MultiProgress;

use crate::ops::Class;

use self::exit::Codes;
use crate::ops::wal_fetch::Recovery;

pub use error::Error;

/// Runs the program; what it returns is the process's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let barman = barman::call(&arguments);
    // Known before anything can fail, also the parser: restore_command must never end a recovery by mistake.
    let codes = match &barman {
        Some(call) => Codes::Barman(call.command.as_ref().ok().copied()),
        None if arguments.iter().any(|argument| argument == "wal-fetch") => {
            Codes::WalFetch { recovery: Recovery::of(Path::new(".")) }
        }
        None => Codes::Plain,
    };
    panic::set_hook(Box::new(move |panic| {
        log::start(first_log(codes), MultiProgress::new());
        tracing::error!("internal error: {panic}\nhint: this is a bug in seawall, please report it");
    }));
    let codes = Mutex::new(codes);
    let called = arguments.clone();
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| match barman {
        Some(call) => barman::run(call),
        None => {
            let invocation = arguments::parse(arguments)?;
            let set = |other| *codes.lock().unwrap_or_else(|locked| locked.into_inner()) = other;
            commands::run(invocation, set)
        }
    }));
    let codes = codes.into_inner().unwrap_or_else(|locked| locked.into_inner());
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            report(&error, codes, &called);
            exit::code(&error, codes)
        }
        // The panic hook has told it.
        Err(_) => exit::panicked(codes),
    }
}

/// The log until the settings or flags say how it is to be.
fn first_log(codes: Codes) -> log::LogConfig {
    match codes {
        Codes::Barman(_) => log::LogConfig::barman(0),
        Codes::Plain | Codes::WalFetch { .. } => log::LogConfig::default(),
    }
}

/// Tells on stderr, or in the log, why the program failed.
fn report(error: &Error, codes: Codes, arguments: &[OsString]) {
    match error {
        Error::Barman(barman::Error::Usage(usage)) => log::to_stderr(&format!("{usage}\n")),
        Error::Usage(usage) => {
            let text = usage.render().to_string();
            let text = text.strip_prefix("error:").map_or(text.clone(), |rest| format!("Error:{rest}"));
            if usage.use_stderr() {
                log::to_stderr(&text);
            } else {
                // Help that cannot be printed has no other place to be told.
                let _ = printer::print(&text);
            }
        }
        error => {
            // Without effect when the settings were good enough to start the log.
            log::start(first_log(codes), MultiProgress::new());
            let fetches =
                matches!(codes, Codes::WalFetch { .. } | Codes::Barman(Some(barman::Command::WalRestore)));
            let text = match codes {
                Codes::Barman(_) => barman::in_its_words(error),
                Codes::Plain | Codes::WalFetch { .. } => error.report(),
            };
            match error {
                // The end of the archive: every recovery and every standby comes to it, again and again.
                Error::Operation(ops) if fetches && ops.class() == Class::Missing => tracing::info!("{text}"),
                _ => {
                    tracing::error!("{text}");
                    let command = match codes {
                        Codes::Barman(command) => command.map(|command| command.program().to_owned()),
                        Codes::Plain | Codes::WalFetch { .. } => last_error::command(arguments),
                    };
                    last_error::keep(&command.unwrap_or_default(), &text);
                }
            }
        }
    }
}
