use std::collections::BTreeSet;

use weir_protocol::ErrorKind;

use super::*;
use crate::principals::{Access, Permission, Role, granted};
use crate::store::testing;
use crate::{Connection, DEFAULT_TENANT, audit, connections};

fn policies(text: &str) -> Policies {
    read(text).unwrap()
}

fn read(text: &str) -> weir_protocol::Result<Policies> {
    Policies::read(vec![PolicyFile {
        path: "policies/own.cedar".to_owned(),
        text: text.to_owned(),
    }])
}

fn someone(name: &str, roles: &[Role]) -> Access {
    let roles: BTreeSet<Role> = roles.iter().copied().collect();
    Access {
        principal: name.to_owned(),
        permissions: granted(&roles, &BTreeSet::new()),
        roles,
        ..Access::command_line(DEFAULT_TENANT)
    }
}

fn connection(name: &str, classification: &str) -> Resource {
    Resource {
        connection: name.to_owned(),
        connector: "stripe".to_owned(),
        classification: classification.to_owned(),
        environment: "production".to_owned(),
        ..Resource::new(ResourceKind::Connection, DEFAULT_TENANT, name)
    }
}

const START: Permission = Permission::RunsWrite;

#[test]
fn without_policies_the_roles_decide_everything() {
    let none = Policies::none();
    for role in Role::ALL {
        for permission in Permission::ALL {
            let decision = none.decide(&someone("x", &[role]), permission, &connection("a", ""), "api");
            assert_eq!(
                decision.is_allowed,
                role.permissions().contains(&permission),
                "{role} {permission}"
            );
        }
    }
}

/// No policy gives what the roles do not: whatever the permits say.
#[test]
fn a_permit_never_gives_what_the_roles_do_not() {
    let all = policies("permit(principal, action, resource);");
    for role in Role::ALL {
        for permission in Permission::ALL {
            let decision = all.decide(&someone("x", &[role]), permission, &connection("a", ""), "api");
            assert_eq!(
                decision.is_allowed,
                role.permissions().contains(&permission),
                "{role} {permission}"
            );
        }
    }
}

#[test]
fn a_forbid_takes_away_and_says_which() {
    let rules = policies(
        r#"@id("restricted-by-people")
           forbid(principal, action == Action::"runs:write", resource)
           when { resource.classification == "restricted" }
           unless { principal.kind == "user" };"#,
    );
    let operator = someone("bot", &[Role::Operator]);
    let decision = rules.decide(&operator, START, &connection("pay", "restricted"), "api");
    assert_eq!(
        (decision.is_allowed, decision.reason, decision.by.as_slice()),
        (
            false,
            Reason::Forbidden,
            ["restricted-by-people".to_owned()].as_slice()
        )
    );
    assert!(
        rules
            .decide(&operator, START, &connection("shop", "internal"), "api")
            .is_allowed
    );
    let read = rules.decide(
        &operator,
        Permission::RunsRead,
        &connection("pay", "restricted"),
        "api",
    );
    assert!(read.is_allowed);
    let person = Access {
        kind: crate::principals::Kind::User,
        ..operator
    };
    assert!(
        rules
            .decide(&person, START, &connection("pay", "restricted"), "api")
            .is_allowed
    );
}

#[test]
fn a_permit_narrows_whom_and_what_it_names_and_nobody_else() {
    let rules = policies(
        r#"permit(principal == Principal::"loader", action in [Action::"write"], resource in Connection::"shop");"#,
    );
    let loader = someone("loader", &[Role::Operator]);
    let on_shop = rules.decide(&loader, START, &connection("shop", ""), "api");
    assert_eq!((on_shop.is_allowed, on_shop.by), (true, vec!["own#1".to_owned()]));
    let elsewhere = rules.decide(&loader, START, &connection("pay", ""), "api");
    assert_eq!(
        (elsewhere.is_allowed, elsewhere.reason),
        (false, Reason::NotPermitted)
    );
    // What the permit does not name stays as the roles have it.
    assert!(
        rules
            .decide(&loader, Permission::RunsRead, &connection("pay", ""), "api")
            .is_allowed
    );
    let other = someone("other", &[Role::Operator]);
    assert!(
        rules
            .decide(&other, START, &connection("pay", ""), "api")
            .is_allowed
    );
    // A stream and a run stand below their connection.
    for kind in [ResourceKind::Stream, ResourceKind::Run] {
        let below = Resource {
            kind,
            name: "x".to_owned(),
            ..connection("shop", "")
        };
        assert!(rules.decide(&loader, START, &below, "api").is_allowed, "{kind}");
    }
}

#[test]
fn roles_groups_tenants_and_connectors_can_be_named() {
    let rules = policies(
        r#"@id("agents") forbid(principal in Role::"agent", action, resource in Connector::"stripe");
           @id("finance") forbid(principal, action, resource) when { resource.connection == "books" } unless { principal in Group::"finance" };
           @id("north") forbid(principal in Tenant::"north", action == Action::"runs:write", resource);"#,
    );
    let by = |access: &Access, resource: &Resource| rules.decide(access, START, resource, "api").by;
    assert_eq!(
        by(&someone("a", &[Role::Agent]), &connection("shop", "")),
        ["agents"]
    );
    assert_eq!(
        by(&someone("o", &[Role::Operator]), &connection("books", "")),
        ["finance"]
    );
    let mut accountant = someone("o", &[Role::Operator]);
    accountant.groups.insert("finance".to_owned());
    assert_eq!(by(&accountant, &connection("books", "")), ["roles"]);
    let northern = Access {
        tenant: "north".to_owned(),
        ..someone("o", &[Role::Operator])
    };
    assert_eq!(by(&northern, &connection("shop", "")), ["north"]);
}

#[test]
fn what_goes_wrong_is_refused() {
    // Arithmetic that runs over: the schema cannot know.
    let rules = policies(
        r#"permit(principal == Principal::"x", action, resource) when { 9223372036854775807 + 1 > 0 };"#,
    );
    let decision = rules.decide(&someone("x", &[Role::Admin]), START, &connection("a", ""), "api");
    assert_eq!((decision.is_allowed, decision.reason), (false, Reason::Failed));
}

#[test]
fn broken_files_are_refused_whole_and_named() {
    for (text, says) in [
        ("permit(principal, action", "cannot be read"),
        (
            r#"forbid(principal, action == Action::"runs:wriet", resource);"#,
            "runs:wriet",
        ),
        (
            "forbid(principal, action, resource) when { resource.colour == \"red\" };",
            "colour",
        ),
        ("permit(principal == ?principal, action, resource);", "slot"),
        (
            r#"@id("a") permit(principal, action, resource); @id("a") permit(principal, action, resource);"#,
            "'a'",
        ),
        (r#"@id("roles") forbid(principal, action, resource);"#, "'roles'"),
        (r#"forbid(principal in Role::"king", action, resource);"#, "king"),
    ] {
        let error = read(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Spec, "{text}");
        assert!(
            format!("{error}").contains(says) && error.next_step().is_some(),
            "{error} does not say {says}"
        );
    }
}

#[test]
fn a_version_names_exactly_the_files() {
    let one = policies("permit(principal, action, resource);");
    assert_eq!(
        one.version(),
        policies("permit(principal, action, resource);").version()
    );
    assert_ne!(
        one.version(),
        policies("permit(principal, action, resource) ;").version()
    );
    assert_eq!(one.version().len(), 64);
}

#[test]
fn cases_say_what_is_not_as_expected() {
    let rules = policies(r#"@id("no-runs") forbid(principal, action == Action::"runs:write", resource);"#);
    let text = r"
cases:
  - name: nobody starts runs
    principal: { name: loader, roles: [operator] }
    action: runs:write
    resource: { kind: connection, name: shop }
    expect: deny
    by: no-runs
  - name: wrong outcome
    principal: { name: loader, roles: [operator] }
    action: runs:read
    resource: { kind: tenant, name: default }
    expect: deny
  - name: wrong policy
    principal: { name: loader, roles: [analyst] }
    action: runs:write
    resource: { kind: connection, name: shop }
    expect: deny
    by: no-runs
";
    let file = CaseFile::parse(std::path::Path::new("own.test.yaml"), text).unwrap();
    let tried: Vec<Option<String>> = file
        .cases
        .iter()
        .map(|case| try_case(&rules, case).mistake)
        .collect();
    assert_eq!(tried[0], None);
    assert!(tried[1].as_ref().unwrap().contains("expected deny"), "{tried:?}");
    assert!(tried[2].as_ref().unwrap().contains("'no-runs'"), "{tried:?}");
    CaseFile::parse(std::path::Path::new("x"), "cases: [{ name: x }]").unwrap_err();
}

#[tokio::test]
async fn broken_newer_files_leave_the_older_in_force_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    let file = |text: &str| {
        vec![PolicyFile {
            path: "policies/own.cedar".to_owned(),
            text: text.to_owned(),
        }]
    };
    let first = r#"@id("no-runs") forbid(principal, action == Action::"runs:write", resource);"#;
    InForce::begin(&store, file("nonsense"), Surroundings::default())
        .await
        .unwrap_err();
    let in_force = InForce::begin(&store, file(first), Surroundings::default())
        .await
        .unwrap();
    let version = in_force.standing().version;

    in_force.take(&store, Ok(file("forbid("))).await.unwrap();
    let standing = in_force.standing();
    assert_eq!(
        (standing.version.as_str(), standing.trouble.is_some()),
        (version.as_str(), true)
    );
    let target = Target::Connection("shop".to_owned());
    let operator = someone("loader", &[Role::Operator]);
    let error = in_force
        .check(&store, &operator, START, &target, "api")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(format!("{error}").contains("no-runs"), "{error}");

    in_force.take(&store, Ok(Vec::new())).await.unwrap();
    assert!(in_force.standing().trouble.is_none());
    in_force
        .check(&store, &operator, START, &target, "api")
        .await
        .unwrap();
    assert_eq!(history(&store).await.unwrap().len(), 1);
    let filter = audit::EntryFilter {
        limit: 10,
        ..Default::default()
    };
    let noted = audit::list(&store, DEFAULT_TENANT, &filter).await.unwrap();
    let actions: Vec<(&str, &str)> = noted
        .iter()
        .rev()
        .map(|entry| (entry.action.as_str(), entry.outcome.as_str()))
        .collect();
    let expected = [
        ("policy.take", "done"),
        ("policy.refuse", "refused"),
        ("policy.remove", "done"),
    ];
    assert_eq!(actions, expected);
    // A server that begins with what is known notes nothing; the same files after their removal are taken anew.
    for (files, action) in [
        (Vec::new(), "policy.remove"),
        (file(first), "policy.take"),
        (file(first), "policy.take"),
        (Vec::new(), "policy.remove"),
    ] {
        InForce::begin(&store, files, Surroundings::default())
            .await
            .unwrap();
        let noted = audit::list(&store, DEFAULT_TENANT, &filter).await.unwrap();
        assert_eq!(noted[0].action, action);
    }
    assert_eq!(
        audit::list(&store, DEFAULT_TENANT, &filter).await.unwrap().len(),
        5
    );
}

#[tokio::test]
async fn a_resource_is_found_with_what_is_known_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    connections::register(&store, &Connection::new("pay", "stripe", "pay"))
        .await
        .unwrap();
    let surroundings = Surroundings {
        environment: "staging".to_owned(),
        classifications: [("stripe".to_owned(), "restricted".to_owned())].into(),
    };
    let find = async |target: &Target| surroundings.find(&store, DEFAULT_TENANT, target).await.unwrap();
    let found = find(&Target::Stream("pay".to_owned(), "charges".to_owned()))
        .await
        .unwrap();
    assert_eq!(
        (
            found.connector.as_str(),
            found.classification.as_str(),
            found.environment.as_str()
        ),
        ("stripe", "restricted", "staging")
    );
    assert_eq!(
        (found.name.as_str(), found.connection.as_str()),
        ("pay/charges", "pay")
    );
    let unknown = find(&Target::Connection("new".to_owned())).await.unwrap();
    assert_eq!(unknown.connector, "");
    assert_eq!(find(&Target::Run("nope".to_owned())).await, None);
}

#[tokio::test]
async fn a_rule_by_classification_goes_by_the_connectors_of_now() {
    let folder = tempfile::tempdir().unwrap();
    let store = testing::store(folder.path()).await;
    connections::register(&store, &Connection::new("pay", "stripe", "pay"))
        .await
        .unwrap();
    let known_as = |classification: &str| Surroundings {
        environment: "production".to_owned(),
        classifications: [("stripe".to_owned(), classification.to_owned())].into(),
    };
    let text = r#"@id("closed") forbid(principal, action == Action::"runs:write", resource)
        when { resource.classification == "restricted" };"#;
    let file = PolicyFile {
        path: "policies/a.cedar".to_owned(),
        text: text.to_owned(),
    };
    let in_force = InForce::begin(&store, vec![file], known_as("internal"))
        .await
        .unwrap();
    let operator = someone("loader", &[Role::Operator]);
    let target = Target::Connection("pay".to_owned());
    let check = async || in_force.check(&store, &operator, START, &target, "api").await;
    check().await.unwrap();
    in_force.know(known_as("restricted"));
    assert_eq!(check().await.unwrap_err().kind(), ErrorKind::Denied);
}
