//! The command line: what was typed becomes settings, one operation, output and an exit code.
//!
//! Only here are the environment and the arguments read, standard output written, and the process ended.

mod arguments;
mod error;
mod exit;
mod log;
pub mod printer;
pub mod progress;
pub mod reference;
mod show;
pub mod signal;
pub mod walg;

use std::ffi::OsString;
use std::panic;
use std::process::ExitCode;

use indicatif::MultiProgress;

use crate::settings::{Environment, Settings, Sources};

use self::arguments::Invocation;
use self::walg::{Command, ConfigCommand};

pub use error::Error;

/// Runs the program; what it returns is the process's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    panic::set_hook(Box::new(|panic| {
        log::start(log::LogConfig::default(), MultiProgress::new());
        tracing::error!("internal error: {panic}\nhint: this is a bug in seawall, please report it");
    }));
    let outcome = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let invocation = arguments::parse(arguments)?;
        run(invocation)
    }));
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            report(&error);
            exit::code(&error)
        }
        // The panic hook has told it.
        Err(_) => exit::panicked(),
    }
}

fn run(invocation: Invocation) -> Result<(), Error> {
    // These need no settings, so that a broken configuration file does not stand in their way.
    match &invocation.arguments.command {
        Command::Flags => return printer::print(&reference::flags()),
        Command::Completion(completion) => return printer::print(&reference::completion(completion.shell)),
        Command::Man => return printer::print(&reference::manual()?),
        Command::Config(_) => {}
    }
    let bars = MultiProgress::new();
    let settings = Settings::load(Sources {
        flags: invocation.settings,
        environment: Environment::of_process(),
        config: invocation.arguments.config,
    })?;
    log::start(log::LogConfig::from_settings(&settings)?, bars);
    match invocation.arguments.command {
        Command::Config(ConfigCommand::Show(show)) => {
            warn(&settings, &[]);
            show::run(&settings, if show.json { show::Format::Json } else { show::Format::Text })
        }
        Command::Flags | Command::Completion(_) | Command::Man => Ok(()),
    }
}

/// Tells what is odd about the settings of these sections.
fn warn(settings: &Settings, sections: &[crate::settings::Section]) {
    for warning in settings.warnings(sections) {
        tracing::warn!("{warning}");
    }
}

/// Tells on stderr, or in the log, why the program failed.
fn report(error: &Error) {
    match error {
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
            log::start(log::LogConfig::default(), MultiProgress::new());
            tracing::error!("{}", error.report());
        }
    }
}
