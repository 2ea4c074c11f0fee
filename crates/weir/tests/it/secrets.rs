use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use wiremock::matchers::{header, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{Project, Ran};

const TOKEN: &str = "plantedTokenQ7w9";
const KEY: &str = "planted\"Key/Z3x5";
const OUTSIDE: &str = "plantedOutsideM1n2";

/// Runs the binary with something on its standard input and in its environment.
fn run(project: &Project, args: &[&str], input: &str, environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command
        .args(args)
        .current_dir(project.path())
        .env_clear()
        .env("HOME", project.path())
        .env("PATH", "/usr/bin:/bin")
        .env("USER", "alice")
        .env("OUTSIDE", OUTSIDE)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    Ran {
        code: done.status.code().unwrap_or(-1),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

/// The source gives records to who has all three secrets, and tells on everybody else.
async fn api() -> MockServer {
    let server = MockServer::start().await;
    let rows = json!({ "data": [{ "id": 1 }, { "id": 2 }] });
    Mock::given(path("/orders"))
        .and(header("Authorization", format!("Bearer {TOKEN}")))
        .and(header("X-Key", KEY))
        .and(header("X-Outside", OUTSIDE))
        .respond_with(ResponseTemplate::new(200).set_body_json(rows))
        .mount(&server)
        .await;
    Mock::given(path("/broken"))
        .respond_with(ResponseTemplate::new(400).set_body_json(json!({ "you sent": [TOKEN, KEY, OUTSIDE] })))
        .mount(&server)
        .await;
    server
}

fn connection(url: &str, stream: &str) -> String {
    format!(
        "connector: http_json\nsource: {stream}\nallow_private_hosts: true\nconfig:\n  base_url: {url}\n\
         \x20 auth: {{ method: bearer, token: \"{{{{ credential.token }}}}\" }}\n\
         \x20 headers: {{ X-Key: \"secret:key\", X-Outside: \"secret:env/OUTSIDE\" }}\n\
         \x20 streams:\n    - name: {stream}\n      path: /{stream}\n      select: data\n      primary_key: [id]\n\
         credential: {{ method: bearer, token: \"secret:token\" }}\n"
    )
}

fn connected(url: &str) -> Project {
    let project = Project::new();
    for stream in ["orders", "broken"] {
        let file = format!("connections/{stream}.yaml");
        project.write(&file, &connection(url, stream));
    }
    project
}

/// Every file below a folder that holds one of the planted values in some form.
fn leaks(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            leaks(&path, found);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if shows(&bytes) {
            found.push(path.display().to_string());
        }
    }
}

fn shows(bytes: &[u8]) -> bool {
    // The distinctive part of each, which every escaping leaves as it is.
    [
        "plantedTokenQ7w9",
        "Key/Z3x5",
        "Key\\/Z3x5",
        "Key%2FZ3x5",
        "plantedOutsideM1n2",
    ]
    .iter()
    .any(|planted| {
        bytes
            .windows(planted.len())
            .any(|window| window == planted.as_bytes())
    })
}

/// A master key that is not the project's opens nothing, and says so before anything is done.
fn every_other_key_is_refused(run: impl Fn(&[&str], &str, &[(&str, &str)]) -> Ran) {
    let other = "ybS7Wg3oMhzQx0mC5rJt1uHfK9eDqVnYaL2pZ8wX4Ts=";
    let wrong = [("WEIR_MASTER_KEY", other)];
    run(&["sync", "orders"], "", &wrong).refused(3, &["master key", "needed"]);
    run(&["secret", "set", "more"], "x", &wrong).refused(3, &["master key"]);
    run(&["serve", "--listen", "127.0.0.1:0"], "", &wrong)
        .refused(3, &["its id", "needed", "WEIR_MASTER_KEY_OLD"]);
    let sick = run(&["doctor"], "", &wrong).refused(3, &["found something wrong"]);
    let told = &sick.stdout;
    assert!(told.contains("is not the one that the secrets"), "{told}");
    let twice = [
        ("WEIR_MASTER_KEY", other),
        ("WEIR_MASTER_KEY_COMMAND", "cat .weir/master.key"),
    ];
    run(&["sync", "orders"], "", &twice).refused(3, &["more than once"]);
    run(&["sync", "orders", "--no-progress"], "", &twice[1..]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_are_used_and_seen_nowhere() {
    let server = api().await;
    let project = connected(&server.uri());
    let said = std::cell::RefCell::new(Vec::new());
    let run = |args: &[&str], input: &str, environment: &[(&str, &str)]| {
        let ran = run(&project, args, input, environment);
        said.borrow_mut()
            .push((args.join(" "), format!("{}{}", ran.stdout, ran.stderr)));
        ran
    };
    let plain = |args: &[&str]| run(args, "", &[]);

    plain(&["validate"]).ok();
    plain(&["sync", "orders"]).refused(1, &["there is no secret", "orders", "back it up"]);
    run(&["secret", "set", "token"], &format!("{TOKEN}\n"), &[]).ok();
    run(&["secret", "set", "key"], KEY, &[]).ok();
    run(&["secret", "set", "empty"], "\n", &[]).refused(2, &["empty"]);

    plain(&["-vv", "sync", "orders", "--no-progress"]).ok();
    assert_eq!(
        project.query("SELECT count(*) AS n FROM orders_orders")[0]["n"],
        2
    );
    assert_ne!(plain(&["-vv", "sync", "broken", "--no-progress"]).code, 0);
    plain(&["preview", "broken", "broken"]);
    let healthy = plain(&["doctor", "--format", "json"]).ok().json();
    let found = healthy.as_array().unwrap().iter();
    let connections = found.filter(|row| row["about"].as_str().unwrap().starts_with("connection "));
    assert!(connections.map(|row| &row["ok"]).eq(["ok", "ok"]), "{healthy}");
    plain(&["--log-format", "json", "-vv", "check", "orders"]);

    plain(&["secret", "rotate", "token"]).ok();
    let moved = plain(&["secret", "rotate-master-key"]).ok();
    assert!(moved.stdout.starts_with("2 secrets"), "{}", moved.stdout);
    plain(&["sync", "orders", "--no-progress"]).ok();
    assert!(!project.path().join(".weir/master.key.old").exists());
    every_other_key_is_refused(run);

    let listed = plain(&["secret", "list", "--format", "json"]).ok().json();
    assert_eq!(
        (&listed[0]["name"], &listed[1]["version"]),
        (&json!("key"), &json!(2))
    );
    let reads = plain(&["audit", "list", "--action", "secret.read", "--format", "json"])
        .ok()
        .json();
    assert!(reads.as_array().unwrap().len() > 9, "{reads}");
    assert!(reads.to_string().contains("secret:env/OUTSIDE"), "{reads}");
    plain(&["audit", "verify"]).ok();
    plain(&["audit", "export", "--output", "audit.jsonl"]).ok();
    plain(&["audit", "verify", "--file", "audit.jsonl"]).ok();
    for id in plain(&["run", "list", "--format", "json"])
        .ok()
        .json()
        .as_array()
        .unwrap()
    {
        plain(&["run", "logs", id["id"].as_str().or(id["run"].as_str()).unwrap()]).ok();
    }

    let mut found = Vec::new();
    leaks(project.path(), &mut found);
    assert_eq!(found, Vec::<String>::new(), "a secret stands in a file");
    for (args, text) in said.borrow().iter() {
        assert!(!shows(text.as_bytes()), "`weir {args}` shows a secret: {text}");
    }

    plain(&["secret", "delete", "key"]).refused(7, &["connections/broken.yaml, connections/orders.yaml"]);
    plain(&["secret", "delete", "key", "--accept-loss"]).ok();
    plain(&["sync", "orders"]).refused(1, &["there is no secret 'key'"]);
}

#[test]
fn the_audit_trail_of_a_project_proves_itself() {
    let project = Project::new();
    let plain = |args: &[&str]| run(&project, args, "", &[]);
    plain(&["audit", "verify"]).ok();
    plain(&["audit", "export", "--output", "none.jsonl"]).refused(1, &["no audit record"]);
    run(&project, &["secret", "set", "token"], "value", &[]).ok();
    let sealed = plain(&["audit", "seal"]).ok().stdout;
    run(&project, &["secret", "set", "token"], "other", &[]).ok();
    plain(&["audit", "export", "--output", "audit.jsonl"]).ok();
    let text = std::fs::read_to_string(project.path().join("audit.jsonl")).unwrap();
    assert!(text.contains("alice"));
    let verify = [
        "audit",
        "verify",
        "--file",
        "audit.jsonl",
        "--head",
        sealed.trim(),
    ];
    plain(&verify).ok();
    project.write("audit.jsonl", &text.replace("secret.set", "secret.get"));
    plain(&verify).refused(7, &["record: 1", "changed"]);
    plain(&["audit", "erase", "--principal", "cli"]).ok();
    let verified = plain(&["audit", "verify", "--format", "json"]).ok().json();
    assert_eq!(
        (&verified["records"], &verified["erased"]),
        (&json!(3), &json!(2))
    );
    plain(&["audit", "prune", "--keep-days", "30"]).refused(2, &["90"]);
}
