//! What weir tells people to type exists: every command and flag that a text in the sources names
//! is looked up in the command line's own definition.
#![expect(clippy::string_slice, reason = "offsets are those of ASCII marks")]

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};

use super::Cli;

/// Flags of other programs that texts name.
const FOREIGN: &[&str] = &[
    "--features",
    "--release",
    "--ignored",
    // Taps, container runtimes and tesseract.
    "--list-langs",
    "--discover",
    "--properties",
    "--rm",
    "--name",
];

#[test]
fn every_command_and_flag_that_a_text_names_exists() {
    let mut wrong = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for file in sources(&root) {
        let text = std::fs::read_to_string(&file).unwrap();
        for literal in literals(&text) {
            for problem in problems(&literal) {
                wrong.push(format!("{}: {problem}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_mention_is_found() {
    assert!(problems("see `weir sync NAME --full`, `weir state set`").is_empty());
    assert_eq!(problems("`weir snyc`").len(), 1);
    assert_eq!(problems("`weir sync --ful`").len(), 1);
    assert_eq!(problems("run it again with --log-level debug").len(), 1);
    let found = literals("let a = \"x \\\" y\"; // \"no\"\nlet c = '\"'; let b = r#\"z \"q\" \"#;");
    assert_eq!(found, ["x \" y", "z \"q\" "]);
}

/// The sources without tests, whose texts nobody is told.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !["tests", "target", "benches"].contains(&name) {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs")
            && !["tests.rs", "mentions.rs"].contains(&name)
        {
            found.push(path);
        }
    }
    found
}

/// The string literals of Rust source, as far as needed here: unescaped but for quotes and line ends.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'', 'r']) {
        let from = &rest[at..];
        let raw = from.starts_with("r\"") || from.starts_with("r#");
        if from.starts_with("//") {
            rest = from.find('\n').map_or("", |end| &from[end..]);
        } else if let Some(after) = from.strip_prefix("'\"'") {
            rest = after;
        } else if let Some(after) = from.strip_prefix("'\\\"'") {
            rest = after;
        } else if raw && !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            let marks = from[1..].bytes().take_while(|byte| *byte == b'#').count();
            let Some(inside) = from[1 + marks..].strip_prefix('"') else {
                rest = &from[1 + marks..];
                continue;
            };
            let closing = format!("\"{}", "#".repeat(marks));
            let end = inside.find(&closing).unwrap();
            found.push(inside[..end].to_owned());
            rest = &inside[end + closing.len()..];
        } else if let Some(inside) = from.strip_prefix('"') {
            let (text, after) = quoted(inside);
            found.push(text);
            rest = after;
        } else {
            rest = &from[1..];
        }
    }
    found
}

fn quoted(inside: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &inside[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, escaped)) => text.push(escaped),
                None => {}
            },
            other => text.push(other),
        }
    }
    (text, "")
}

fn problems(text: &str) -> Vec<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    let examples = text.lines().filter_map(|line| line.strip_prefix("  "));
    let commands = quoted
        .chain(examples)
        .filter_map(|text| text.strip_prefix("weir "));
    let mut wrong: Vec<String> = commands.filter_map(|words| unknown(words).err()).collect();
    if wrong.is_empty() {
        let flags = words(text).filter(|word| {
            // Not the dashes of a rule, of SQL, or of a PEM header.
            word.strip_prefix("--")
                .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        });
        wrong.extend(
            flags
                .filter(|flag| !FOREIGN.contains(flag) && !knows_flag(&Cli::command(), flag))
                .map(|flag| format!("there is no flag {flag} in any command: {text}")),
        );
    }
    wrong
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_inside = |c: char| c.is_ascii_lowercase() || c == '-';
    text.split(move |c: char| !is_inside(c))
        .filter(|word| !word.is_empty())
}

/// Follows the words from command to command, then looks up the flags.
fn unknown(line: &str) -> Result<(), String> {
    let mut command = Cli::command();
    let globals: Vec<String> = longs(&command).collect();
    let line = line
        .split(['&', '|', '#', ';', '\u{2026}'])
        .next()
        .unwrap_or(line);
    let mut names = true;
    for word in line.split_whitespace() {
        let word = word.trim_matches(|c: char| ",.:)'\"".contains(c));
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split('=').next().unwrap_or(flag);
            let known = flag == "help"
                || globals
                    .iter()
                    .chain(&longs(&command).collect::<Vec<_>>())
                    .any(|long| long == flag);
            if !known {
                return Err(format!("`weir {line}`: there is no --{flag} there"));
            }
        } else if names && !word.starts_with('-') && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        {
            match command.find_subcommand(word) {
                Some(below) => command = below.clone(),
                // Some commands take either a name of their own or one of a command below them.
                None if command.has_subcommands() && command.get_positionals().next().is_none() => {
                    return Err(format!("`weir {line}`: there is no command '{word}' there"));
                }
                None => names = false,
            }
        }
    }
    Ok(())
}

fn longs(command: &Command) -> impl Iterator<Item = String> + use<> {
    let longs: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    longs.into_iter()
}

fn knows_flag(command: &Command, flag: &str) -> bool {
    let name = flag.trim_start_matches("--");
    ["help", "version"].contains(&name)
        || longs(command).any(|long| long == name)
        || command.get_subcommands().any(|below| knows_flag(below, flag))
}
