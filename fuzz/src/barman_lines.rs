//! barman-cloud's command lines, one argument on a line.

use seawall::cli::barman::Command;
use seawall::cli::barman::flags::grammar;
use seawall::cli::barman::grammar::Request;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let arguments: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for command in Command::ALL.into_iter().chain([Command::WalPrefetch, Command::Copy]) {
        let grammar = grammar(command);
        match grammar.parse(&arguments) {
            Ok(Request::Work(line)) => {
                let words = line.flag_words().count();
                assert!(line.flags().count() <= words, "a flag without a word");
                assert!(line.positional(grammar.positionals.len()).is_none());
            }
            Ok(Request::Help) => assert!(!grammar.help().is_empty()),
            Ok(Request::Version) => {}
            Err(error) => assert!(error.to_string().contains(grammar.program)),
        }
    }
}
