"""Policies as an operator writes them: checked, tried, explained, and asked by the server."""

import time

from source import connection, record
from test_api import call, first_token
from test_serve import serving

RULES = """
@id("no-loader")
forbid(principal == Principal::"loader", action == Action::"runs:write", resource in Connection::"demo");
@id("no-tokens-by-hand")
forbid(principal, action == Action::"tokens:write", resource) when { context.via == "cli" && principal.tenant == "north" };
"""

CASES = """
cases:
  - name: the loader starts nothing here
    principal: { name: loader, roles: [operator] }
    action: runs:write
    resource: { kind: connection, name: demo, connection: demo }
    expect: deny
    by: no-loader
  - name: others do
    principal: { name: other, roles: [operator] }
    action: runs:write
    resource: { kind: connection, name: demo, connection: demo }
    expect: allow
"""


def test_policies_are_checked_tried_and_explained(project):
    project.write("policies/rules.cedar", RULES)
    project.write("policies/rules.test.yaml", CASES)
    assert "2 policies in 1 files" in project.run("policy", "validate").stdout
    project.run("policy", "test")
    explain = ["policy", "explain", "loader", "runs:write", "connection", "demo", "--role", "operator"]
    assert "denied by no-loader" in project.run(*explain).stdout
    told = project.json(*explain)
    assert told["decision"]["by"] == ["no-loader"] and told["resource"]["environment"] == "production"
    assert "entity Connection in [Connector, Tenant]" in project.run("policy", "schema").stdout

    project.write("policies/rules.test.yaml", CASES.replace("expect: allow", "expect: deny"))
    failed = project.run("policy", "test", ok=False)
    assert failed.returncode == 7 and "FAILED" in failed.stdout
    project.write("policies/rules.cedar", RULES.replace("runs:write", "runs:wriet"))
    broken = project.run("policy", "validate", ok=False)
    assert broken.returncode == 3 and "weir policy schema" in broken.stderr
    # Nobody would know what such a server lets pass.
    refused = project.run("serve", "--listen", "127.0.0.1:0", ok=False, timeout=60)
    assert refused.returncode == 3, refused.stderr


def test_a_server_asks_them_and_keeps_the_last_good_ones(project, source):
    source.records = [record(n, n) for n in range(3)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    project.write("policies/rules.cedar", RULES)
    loader = project.run("token", "create", "loader", "--role", "operator").stdout.strip()
    other = project.run("token", "create", "other", "--role", "operator").stdout.strip()
    admin = project.run("token", "create", "boss", "--role", "admin").stdout.strip()
    with serving(project, "--runs-at-once", "0") as process:
        status, problem = call(process.url, loader, "/runs", "POST", {"connection": "demo"})
        assert (status, problem["context"]["policy"]) == (403, "no-loader")
        assert call(process.url, other, "/runs", "POST", {"connection": "demo"})[0] == 202
        version = call(process.url, admin, "/policies")[1]["version"]

        def until(said):
            deadline = time.monotonic() + 30
            while not said(standing := call(process.url, admin, "/policies")[1]):
                assert time.monotonic() < deadline, standing
                time.sleep(0.3)
            return standing

        project.write("policies/rules.cedar", "forbid(")
        standing = until(lambda standing: standing["trouble"])
        assert standing["version"] == version
        assert call(process.url, loader, "/runs", "POST", {"connection": "demo"})[0] == 403
        project.write("policies/rules.cedar", RULES.replace("loader", "other"))
        until(lambda standing: standing["version"] != version and not standing["trouble"])
        assert call(process.url, loader, "/runs", "POST", {"connection": "demo"})[0] == 202
        assert call(process.url, other, "/runs", "POST", {"connection": "demo"})[0] == 403
        versions = call(process.url, admin, "/policies/versions")[1]["items"]
        assert len(versions) == 2
    refused = project.json("audit", "list", "--action", "policy.refuse")
    assert len(refused) == 3 and all(entry["outcome"] == "refused" for entry in refused)
    project.run("tenant", "create", "north")
    by_hand = project.run("token", "create", "x", "--role", "agent", "--tenant", "north", ok=False)
    assert by_hand.returncode != 0 and "no-tokens-by-hand" in by_hand.stderr
