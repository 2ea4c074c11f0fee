use crate::harness::run_in;

fn weir(args: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), args).ok().stdout
}

/// Names of the commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn lists_the_commands() {
    insta::assert_snapshot!(weir(&["--help"]));
}

#[test]
fn every_command_shows_an_example() {
    for command in commands(&weir(&["--help"])) {
        let help = weir(&[&command, "--help"]);
        assert!(help.contains("Example"), "{command}: {help}");
        for below in commands(&help) {
            let help = weir(&[&command, &below, "--help"]);
            if command != "source" {
                assert!(help.contains("Example"), "{command} {below}: {help}");
            }
        }
    }
}

#[test]
fn says_its_version() {
    assert_eq!(
        weir(&["--version"]),
        format!("weir {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn completes_and_describes_files() {
    assert!(weir(&["completions", "bash"]).contains("_weir"));
    for of in ["connector", "connection", "project"] {
        let schema: serde_json::Value = serde_json::from_str(&weir(&["schema", of])).unwrap();
        assert!(schema["properties"].is_object(), "{of}");
    }
}
