//! Programs that behave and programs that do not, played by a shell.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use weir_protocol::connection::ConnectionSpec;
use weir_protocol::{Error, Secret};

use super::lifeline::{Lifeline, is_alive};
use super::*;
use crate::EngineSettings;

pub(in crate::native) fn engine() -> EngineSettings {
    EngineSettings {
        process_env: [("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())].into(),
        ..EngineSettings::default()
    }
}

fn program(script: &str) -> Program {
    let connection = json!({ "connection": "x", "connector": "x", "config": {
        "command": ["sh", "-c", script, "sh"],
        "settings": { "api_key": "hunter2" },
        "env": { "DB_PASSWORD": "swordfish", "MODE": "fast" },
    } });
    let mut connection: ConnectionSpec = serde_json::from_value(connection).unwrap();
    connection.variables = vec![Secret::new("from outside")];
    let given = ProcessSettings::of(&connection).unwrap();
    Program::new(&given, &connection, &engine()).unwrap()
}

/// Its lines, and how it ended.
async fn run(program: &Program) -> (Vec<String>, Result<()>) {
    let folder = program.folder().unwrap();
    let mut running = program.start(folder, &[]).unwrap();
    let mut lines = Vec::new();
    loop {
        match running.next_line().await {
            Ok(Some(Line::Whole(line))) => lines.push(String::from_utf8_lossy(line).into_owned()),
            Ok(Some(Line::Cut(line))) => lines.push(format!("cut: {}", String::from_utf8_lossy(line))),
            Ok(None) => break,
            Err(error) => return (lines, Err(error)),
        }
    }
    let ended = running.end().await;
    (lines, ended)
}

fn shown(error: &Error) -> String {
    format!("{error:?}")
}

/// A pipe in the file system: whoever opens it waits for the other side.
fn fifo(folder: &Path) -> String {
    let path = folder.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path.display().to_string()
}

#[tokio::test]
async fn lines_come_as_they_are_written() {
    let (lines, ended) = run(&program("echo one; printf 'two\\nhalf'")).await;
    assert_eq!(lines, ["one", "two", "cut: half"]);
    ended.unwrap();
}

#[tokio::test]
async fn a_program_that_dies_says_its_last_words_without_secrets() {
    let (_, ended) = run(&program(
        "echo 'no way: hunter2 swordfish from outside' >&2; exit 3",
    ))
    .await;
    insta::assert_snapshot!(shown(&ended.unwrap_err()), @"[source] 'sh' ended with exit code 3 (last said: no way: [redacted] [redacted] [redacted]) -> `--verbose` logs all that it says; what was committed stays");
    let (_, ended) = run(&program("kill -9 $$")).await;
    insta::assert_snapshot!(shown(&ended.unwrap_err()), @"[source] 'sh' was ended by signal 9 (killed; out of memory?) -> `--verbose` logs all that it says; what was committed stays");
}

#[tokio::test]
async fn a_program_that_floods_is_read_and_one_line_of_it_is_bounded() {
    let flood = "head -c 3000000 /dev/zero | tr '\\0' 'e' >&2; head -c 3000000 /dev/zero | tr '\\0' '\\n'";
    let (lines, ended) = run(&program(flood)).await;
    assert_eq!(lines.len(), 3_000_000);
    ended.unwrap();
    let long = program("head -c 3000 /dev/zero | tr '\\0' 'x'").with_limits(Duration::from_secs(60), 1_000);
    let (_, ended) = run(&long).await;
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Limit);
    assert!(error.to_string().contains("bytes_max: 1000"), "{error}");
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let (gate, held) = (fifo(folder.path()), folder.path().join("held"));
    // A child of its own holds a lock on nothing but a name; it lives as long as the group.
    let script = format!(
        "sh -c 'echo $$ > {}; read x < {gate}' & read y < {gate}",
        held.display()
    );
    let hangs = program(&script).with_limits(Duration::from_millis(300), 1_000);
    let (_, ended) = run(&hangs).await;
    let error = ended.unwrap_err();
    assert_eq!(error.kind(), weir_protocol::ErrorKind::Timeout);
    let child: u32 = std::fs::read_to_string(held).unwrap().trim().parse().unwrap();
    gone(child).await;
}

/// Waits until a process is no more, or is one that only waits to be collected.
async fn gone(process: u32) {
    let ended = || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        !is_alive(process) || stat.split(") ").nth(1).is_none_or(|rest| rest.starts_with('Z'))
    };
    let waiting = async {
        while !ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_program_that_does_not_end_when_asked_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let gate = fifo(folder.path());
    let script = format!("trap '' TERM; echo $$; while :; do read x < {gate}; done");
    let program = program(&script);
    let files = program.folder().unwrap();
    let root = files.root().to_owned();
    let mut running = program.start(files, &[]).unwrap();
    let Some(Line::Whole(line)) = running.next_line().await.unwrap() else {
        panic!("it says its id");
    };
    let process: u32 = std::str::from_utf8(line).unwrap().parse().unwrap();
    drop(running);
    gone(process).await;
    while root.exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_lifeline_ends_the_group_when_its_other_end_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let gate = fifo(folder.path());
    let files = tempfile::tempdir().unwrap().keep();
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &format!("trap '' TERM; while :; do read x < {gate}; done")]);
    command.process_group(0);
    let child = command.spawn().unwrap();
    let process = child.id().unwrap();
    let lifeline = Lifeline::hold(process, &files, &[]);
    // As when weir is killed: nobody kills the lifeline, its pipe just closes.
    lifeline.let_go();
    gone(process).await;
    assert!(!files.exists());
}

#[tokio::test]
async fn the_environment_is_what_the_connection_names() {
    let (mut lines, _) = run(&program("env")).await;
    lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("_=") && !line.starts_with("SHLVL="));
    lines.sort();
    assert_eq!(
        lines,
        [
            "DB_PASSWORD=swordfish",
            "MODE=fast",
            "PATH=/usr/local/bin:/usr/bin:/bin"
        ]
    );
}

#[tokio::test]
async fn output_that_outlives_the_program_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let gate = fifo(folder.path());
    let (lines, ended) = run(&program(&format!("echo said; (read x < {gate}) & exit 0"))).await;
    assert_eq!(lines, ["said"]);
    ended.unwrap();
}

#[test]
fn faults_of_the_settings_are_named() {
    let refusal = |config: serde_json::Value| {
        let connection = json!({ "connection": "x", "connector": "x", "config": config });
        let connection: ConnectionSpec = serde_json::from_value(connection).unwrap();
        let made =
            ProcessSettings::of(&connection).and_then(|given| Program::new(&given, &connection, &engine()));
        let failed = match made {
            Ok(program) => {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let _guard = runtime.enter();
                program.start(program.folder().unwrap(), &[]).map(drop)
            }
            Err(error) => Err(error),
        };
        shown(&failed.unwrap_err())
    };
    insta::assert_snapshot!(refusal(json!({})), @"[spec] config names no program -> write command: [program, argument], or image: where a container runtime is present");
    insta::assert_snapshot!(refusal(json!({ "command": ["a"], "image": "b" })), @"[spec] config has both command and image -> keep one of them");
    insta::assert_snapshot!(refusal(json!({ "command": ["no-such-program"] })), @"[spec] the program 'no-such-program' cannot be started: No such file or directory (os error 2) -> install it, or write its whole path; a relative path begins at the folder weir runs in");
    insta::assert_snapshot!(refusal(json!({ "command": ["/etc/passwd"] })), @"[spec] the program '/etc/passwd' cannot be started: Permission denied (os error 13) -> make it executable, as with chmod +x");
}

#[tokio::test]
async fn an_image_is_run_with_its_files_mounted_and_ended_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let docker = folder.path().join("docker");
    std::fs::write(&docker, "#!/bin/sh\necho \"$@\"\n").unwrap();
    std::fs::set_permissions(&docker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let connection = json!({ "connection": "x", "connector": "x", "config": { "image": "acme/source:1", "env": { "TOKEN": "t" } } });
    let connection: ConnectionSpec = serde_json::from_value(connection).unwrap();
    let given = ProcessSettings::of(&connection).unwrap();
    let without = Program::new(&given, &connection, &EngineSettings::default());
    let Err(error) = without else {
        panic!("it has no runtime")
    };
    insta::assert_snapshot!(shown(&error), @"[spec] config.image needs docker or podman, and neither is on the PATH (image: acme/source:1) -> install one of them, or install the program itself and name it by command:");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let engine = EngineSettings {
        process_env: [("PATH".to_owned(), path)].into(),
        ..EngineSettings::default()
    };
    let program = Program::new(&given, &connection, &engine).unwrap();
    let files = program.folder().unwrap();
    let inner = files.inner().display().to_string();
    let mut running = program
        .start(files, &[Argument::Word("check"), Argument::File("config.json")])
        .unwrap();
    let Some(Line::Whole(line)) = running.next_line().await.unwrap() else {
        panic!("it says how it was called");
    };
    let said = String::from_utf8_lossy(line).replace(&inner, "FILES");
    let words: Vec<&str> = said.split(' ').collect();
    let said = [&words[..3], &words[4..]].concat().join(" ");
    assert_eq!(
        said,
        "run --rm --name -v FILES:/weir:ro -e TOKEN acme/source:1 check /weir/config.json"
    );
    assert!(words[3].starts_with("weir-"));
}
