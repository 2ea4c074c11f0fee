use crate::harness::{Project, run_in};

#[test]
fn a_wrong_command_line_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run_in(folder.path(), &["snyc"]).code, 2);
    assert_eq!(run_in(folder.path(), &["sync"]).code, 2);
    let ran = run_in(folder.path(), &["snyc", "--log-format", "json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.code, &error["kind"]), (2, &"usage".into()));
}

#[test]
fn a_folder_without_a_project_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &["sync", "github"]).refused(3, &["weir.yaml", "weir init"]);
    let ran = run_in(folder.path(), &["sync", "github", "--log-format", "json"]);
    let error: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((ran.code, &error["kind"]), (3, &"spec".into()));
    assert!(error["next"].as_str().unwrap().contains("weir init"));
}

#[test]
fn a_project_is_not_made_twice() {
    let project = Project::new();
    project.run(&["init", "."]).refused(2, &["already"]);
}

#[test]
fn names_what_is_wrong_in_a_connection_file() {
    for (text, code, says) in [
        ("config: [\n", 3, "demo.yaml"),
        ("conector: http_json\n", 3, "did you mean 'connector'"),
        ("connector: http_jsom\n", 3, "http_json"),
        ("connector: http_json\nconfig: {}\n", 3, "base_url"),
        (
            "connector: github\nconfig: { repository: a/b }\ncredential: { method: bearer, token: '${NOT_SET}' }\n",
            3,
            "NOT_SET",
        ),
        (
            "connector: github\nconfig: { repository: a/b }\ncredential: { method: bearer }\n",
            6,
            "token",
        ),
        (
            "connector: github\nconfig: { repository: a/b, repo: 1 }\n",
            3,
            "repo",
        ),
    ] {
        let project = Project::new();
        project.write("connections/demo.yaml", text);
        project.run(&["check", "demo"]).refused(code, &[says]);
    }
}

#[test]
fn names_the_nearest_connection() {
    let project = Project::new();
    project.write(
        "connections/github.yaml",
        "connector: github\nconfig: { repository: a/b }\n",
    );
    project
        .run(&["sync", "githb"])
        .refused(1, &["did you mean 'github'"]);
}

#[test]
fn validate_says_everything_at_once() {
    let project = Project::new();
    project.write("connections/one.yaml", "conector: github\n");
    project.write(
        "connections/two.yaml",
        "connector: github\nconfig: { repository: a/b }\nstreams: { isues: {} }\n",
    );
    project.write("connectors/acme/connector.yaml", "spec: 1\nconnector: other\n");
    project.write("models/wrong_name.sql", "select 1\n");
    let ran = project.run(&["validate"]).refused(3, &["problems"]);
    for word in ["connector", "isues", "did you mean 'issues'", "acme", "gold_"] {
        assert!(ran.stdout.contains(word), "no '{word}' in: {}", ran.stdout);
    }
}

#[test]
fn validate_tells_connections_that_would_write_the_same_tables() {
    let project = Project::new();
    let text = "connector: github\nconfig: { repository: a/b }\n";
    project.write("connections/one.yaml", text);
    project.write("connections/two.yaml", text);
    let ran = project.run(&["validate"]).refused(3, &[]);
    let both = "would both write 'github_";
    assert_eq!(ran.stdout.matches(both).count(), 1, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("'one.") && ran.stdout.contains("'two."),
        "{}",
        ran.stdout
    );
    project.write("connections/two.yaml", &format!("{text}source: other\n"));
    project.run(&["validate"]).ok();
}

#[test]
fn a_query_that_writes_is_refused() {
    let project = Project::new();
    for sql in ["DELETE FROM x", "SELECT 1; SELECT 2", "COPY x TO '/tmp/x'"] {
        assert_ne!(project.run(&["query", sql]).code, 0, "{sql}");
    }
}
