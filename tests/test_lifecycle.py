"""A connector's way into production and back, as its author walks it."""

from source import record

CONNECTOR = """
spec: 1
connector: acme
version: {version}
name: {{ en: Acme }}
hosts: [127.0.0.1]
config:
  type: object
  required: [base_url]
  properties: {{ base_url: {{ type: string }} }}
http: {{ base_url: "{{{{ config.base_url }}}}" }}
check: {{ path: /me }}
streams:
  - name: records
    path: /records
    paginate: {{ by: link_header, size: {{ param: limit, value: 100 }} }}
    primary_key: [{key}]
    cursor: {{ field: updated_at, request: {{ param: since }} }}
"""


def connector(project, version, key="id"):
    project.write("connectors/acme/connector.yaml", CONNECTOR.format(version=version, key=key))


def stages(project):
    shown = project.run("connector", "show", "acme").stdout
    return {word for word in ("draft", "approved", "staging", "production", "retired") if word in shown}


def test_a_version_is_promoted_staged_and_rolled_back(project, source):
    source.records = [record(n, n) for n in range(10)]
    connector(project, "1.0.0")
    project.connection(
        "shop", f"connector: acme\nallow_private_hosts: true\nconfig: {{ base_url: '{source.url}' }}\n"
    )
    project.run("sync", "shop")
    assert "is draft" in project.run("connector", "promote", "acme").stdout
    # Under the lifecycle, and no version in production.
    gated = project.run("sync", "shop", ok=False)
    assert gated.returncode == 7 and "weir connector promote acme" in gated.stderr
    project.run("connector", "promote", "acme")
    project.run("connector", "promote", "acme")
    unstaged = project.run("connector", "promote", "acme", ok=False)
    assert unstaged.returncode == 7 and "weir connector stage acme" in unstaged.stderr
    compared = project.json("connector", "stage", "acme", "shop")
    assert [(line["rows"], line["production"], line["keys_missing"]) for line in compared] == [(10, 10, 0)]
    assert "is production" in project.run("connector", "promote", "acme").stdout
    project.run("sync", "shop")

    # A draft in the folder is not what production reads with.
    connector(project, "1.0.1", key="name")
    broken = project.run("connector", "promote", "acme", ok=False)
    assert broken.returncode == 7 and "its key changes" in broken.stderr and "2.0.0" in broken.stderr
    project.run("sync", "shop")
    connector(project, "1.0.1")
    project.run("connector", "promote", "acme")
    project.run("connector", "promote", "acme")
    project.run("connector", "promote", "acme")
    project.run("connector", "promote", "acme", "--without-staging", "nothing but the number changed")
    assert stages(project) == {"production", "retired"}
    assert "1.0.0 is in production again" in project.run("connector", "rollback", "acme").stdout
    project.run("sync", "shop")
    noted = {entry["action"] for entry in project.json("audit", "list", "--limit", "500")}
    assert {"connector.promote", "connector.stage", "connector.rollback"} <= noted
