use std::fs;

use super::*;

fn project(files: &[(&str, &str)]) -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let found = Project::find(&folder.path().join("connections"), &|_| None).unwrap();
    (folder, found)
}

const CONNECTION: &str = "connector: github\nconfig: { repository: a/b }\n";

#[test]
fn is_found_from_a_folder_below() {
    let (folder, found) = project(&[
        ("weir.yaml", "project: shop\n"),
        ("connections/github.yaml", CONNECTION),
    ]);
    assert_eq!(found.root, folder.path());
    assert_eq!(
        found.lake_location(),
        folder.path().join("./lake").display().to_string()
    );
    let connection = found.connection("github", &|_| None, &|_, _, _| Ok(())).unwrap();
    assert_eq!(connection.connection, "github");
}

#[test]
fn where_there_is_none_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = Project::find(folder.path(), &|_| None).unwrap_err();
    assert!(error.next_step().unwrap().contains("weir init"));
}

#[test]
fn samples_are_no_connections() {
    let (_folder, found) = project(&[
        ("weir.yaml", "project: shop"),
        ("connections/sample.yaml", "# connector: github\n\n"),
    ]);
    assert!(found.connection_files().unwrap().is_empty());
}

#[test]
fn an_unknown_connection_gets_the_nearest_name() {
    let (_folder, found) = project(&[
        ("weir.yaml", "project: shop"),
        ("connections/github.yaml", CONNECTION),
    ]);
    let error = found
        .connection("githb", &|_| None, &|_, _, _| Ok(()))
        .unwrap_err();
    assert_eq!(error.next_step(), Some("did you mean 'github'?"));
}

#[test]
fn the_pii_key_is_made_once_and_private() {
    let (_folder, found) = project(&[("weir.yaml", "project: shop")]);
    let key = found.pii_key(None).unwrap();
    assert_eq!(found.pii_key(None).unwrap(), key);
    assert_ne!(found.pii_key(Some(&"k".repeat(40))).unwrap(), key);
    assert!(found.pii_key(Some("short")).is_err());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(found.path(&found.file.pii_key))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_project_that_takes_access_tokens_says_how_people_are_named() {
    let parse = |login: &str| {
        ProjectFile::parse(
            Path::new("weir.yaml"),
            &format!("project: shop\nlogin: {login}\n"),
        )
    };
    let file = parse("{ access_tokens: true, principal_claim: sub }").unwrap();
    assert!(file.login.access_tokens && file.login.audience.is_none());
    for wrong in [
        "{ access_tokens: true }",
        "{ audience: 'api://weir' }",
        "{ access_tokens: true, principal_claim: sub, audience: '' }",
    ] {
        let error = parse(wrong).unwrap_err();
        assert_eq!(error.kind(), weir_protocol::ErrorKind::Spec, "{wrong}");
    }
}
