"""The github connector against programs that nobody here wrote."""

import json
import time
import urllib.request

import pytest

from adapter import Adapter

TOKEN = "test_token_admin"


def github(base_url, repository, streams, token=TOKEN):
    names = "\n".join(f"  {stream}: {{}}" for stream in streams)
    return f"""connector: github
allow_private_hosts: true
config:
  base_url: {base_url}
  repository: {repository}
credential:
  method: bearer
  token: '{token}'
streams:
{names}
"""


def post(url, body):
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))


@pytest.fixture
def repository(emulate):
    name = f"weir{time.monotonic_ns()}"
    post(f"{emulate}/user/repos", {"name": name})
    for number in range(1, 231):
        post(f"{emulate}/repos/admin/{name}/issues", {"title": f"issue {number}", "body": "text"})
    for number in (1, 2, 2, 230):
        post(f"{emulate}/repos/admin/{name}/issues/{number}/comments", {"body": f"on {number}"})
    return f"admin/{name}"


def test_stateful_github_in_full_then_incrementally(project, emulate, repository, duck):
    streams = ["repositories", "issues", "comments", "pull_requests", "releases", "workflow_runs"]
    project.connection("github", github(emulate, repository, streams))
    project.run("check", "github")
    project.run("sync", "github")
    issues = f"delta_scan('{project.silver('github_issues')}')"
    assert duck.execute(f"SELECT count(*), count(DISTINCT id), max(number) FROM {issues}").fetchone() == (230, 230, 230)
    comments = f"delta_scan('{project.silver('github_comments')}')"
    assert duck.execute(f"SELECT count(*) FROM {comments}").fetchone() == (4,)
    assert project.query("SELECT count(*) AS n FROM github_repositories") == [{"n": 1}]

    time.sleep(1.1)  # GitHub's clock has whole seconds: the change must be later than the first read
    post(f"{emulate}/repos/{repository}/issues", {"title": "issue 231"})
    request = urllib.request.Request(
        f"{emulate}/repos/{repository}/issues/7",
        data=b'{"title": "renamed"}',
        method="PATCH",
        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).read()
    project.run("sync", "github", "--stream", "issues")
    assert duck.execute(f"SELECT count(*), count(DISTINCT id) FROM {issues}").fetchone() == (231, 231)
    assert duck.execute(f"SELECT title FROM {issues} WHERE number = 7").fetchone() == ("renamed",)


def scenario(octokit, name):
    request = urllib.request.Request(
        f"{octokit}/fixtures",
        data=json.dumps({"scenario": name}).encode(),
        headers={"Content-Type": "application/json"},
    )
    return json.load(urllib.request.urlopen(request))["url"]


def test_recorded_github_issues_over_five_pages(project, octokit, duck):
    with Adapter(scenario(octokit, "paginate-issues"), keep={"per_page": "3"}) as adapter:
        project.connection("github", github(adapter.url, "octokit-fixture-org/paginate-issues", ["issues"], "0" * 40))
        project.run("sync", "github")
        assert len(adapter.seen) == 5, adapter.seen
    issues = f"delta_scan('{project.silver('github_issues')}')"
    assert duck.execute(f"SELECT count(*), count(DISTINCT id), min(number), max(number) FROM {issues}").fetchone() == (
        13,
        13,
        1,
        13,
    )


def test_recorded_github_repository(project, octokit):
    with Adapter(scenario(octokit, "get-repository"), keep={}) as adapter:
        project.connection("github", github(adapter.url, "octokit-fixture-org/hello-world", ["repositories"], "0" * 40))
        project.run("sync", "github")
    rows = project.query("SELECT full_name FROM github_repositories")
    assert rows == [{"full_name": "octokit-fixture-org/hello-world"}]
