"""A stream keeps who it is between runs: no row doubled, none missed, none lost with its table."""

import threading

import pytest

from source import connection, record


def ids(project, duck, table="demo_records", where=""):
    rows = duck.execute(f"SELECT id FROM delta_scan('{project.silver(table)}') {where} ORDER BY id").fetchall()
    return [row[0] for row in rows]


def kill_at_page(project, source, number, *command):
    """Ends a sync with signal 9 while it waits for a page."""
    reached, gate = threading.Event(), threading.Event()

    def on_page(page):
        if page == number:
            reached.set()
            gate.wait(60)

    source.on_page = on_page
    running = project.start(*command)
    assert reached.wait(60)
    running.kill()
    running.communicate()
    gate.set()
    source.on_page = None


def keyless(source, mode="incremental_append", order="ascending"):
    return connection(source.url, mode=mode, key="[]", order=order)


@pytest.mark.parametrize("order", ["ascending", "unknown"])
def test_a_full_read_of_a_keyless_stream_remembers_the_rows_at_its_cursor(project, source, duck, order):
    source.records = [record(i, i // 4) for i in range(350)]
    project.connection("demo", keyless(source, order=order))
    project.run("sync", "demo")
    project.run("sync", "demo", "--full")
    project.run("sync", "demo")
    assert ids(project, duck) == list(range(350))
    # The same after a death in the middle of the full read.
    point = {"WEIR_FAILPOINT": "control.before_finish:1"}
    died = project.run("sync", "demo", "--full", "--checkpoint-rows", "100", ok=False, env=point)
    assert died.returncode != 0
    project.run("sync", "demo")
    source.records += [record(350, 349 // 4), record(351, 100)]
    project.run("sync", "demo")
    assert ids(project, duck) == list(range(352))


def test_reading_a_keyless_stream_again_needs_consent(project, source, duck):
    source.records = [record(i, i) for i in range(20)]
    project.connection("demo", keyless(source))
    project.run("state", "reset", "demo", "records")  # nothing is there to be doubled
    project.run("sync", "demo")
    since = "2026-01-01T00:00:05Z"
    for command in (
        ["state", "reset", "demo", "records"],
        ["state", "set", "demo", "records", "--cursor", since],
        ["sync", "demo", "--from", since],
    ):
        done = project.run(*command, ok=False)
        assert done.returncode == 2, (command, done.stderr)
        assert "twice" in done.stderr and "--full" in done.stderr and "--accept-duplicates" in done.stderr
        project.run("sync", "demo")
        assert ids(project, duck) == list(range(20)), command
    project.run("sync", "demo", "--from", since, "--accept-duplicates")
    assert len(ids(project, duck)) == 35
    project.run("state", "reset", "demo", "records", "--accept-duplicates")
    project.run("sync", "demo")
    assert len(ids(project, duck)) == 55
    project.run("sync", "demo", "--full")
    assert ids(project, duck) == list(range(20))


def test_a_full_read_that_died_before_its_first_checkpoint_is_still_made(project, source, duck):
    source.records = [record(i, i) for i in range(250)]
    project.connection("demo", connection(source.url, mode="incremental_merge"))
    project.run("sync", "demo")
    del source.records[:30]
    kill_at_page(project, source, 2, "sync", "demo", "--full")
    assert "--full" in project.run("state", "show", "demo").stdout
    done = project.run("sync", "demo")
    assert "before its first checkpoint" in done.stdout + done.stderr, done.stderr
    assert ids(project, duck, where="WHERE _deleted_at IS NULL") == list(range(30, 250))
    # That was it: the next run reads on.
    asked = len(source.requests)
    project.run("sync", "demo")
    assert all(query.get("since") for path, query in source.requests[asked:] if path == "/records")


@pytest.mark.parametrize("mode", ["full_refresh_merge", "full_refresh_replace", "full_refresh_history"])
@pytest.mark.parametrize("key", ["[id]", "[]"])
def test_a_full_refresh_whose_pages_moved_between_death_and_resume(project, source, duck, mode, key):
    if key == "[]" and mode != "full_refresh_replace":
        return
    source.records = [record(i, i) for i in range(1000)]
    project.connection("demo", connection(source.url, mode=mode, key=key, cursor=False))
    project.run("sync", "demo")
    kill_at_page(project, source, 6, "sync", "demo", "--checkpoint-rows", "200")
    # Two pages go at the front, one record comes.
    source.records = [record(5000, 0)] + source.records[250:]
    project.run("sync", "demo")
    living = {
        "full_refresh_merge": "WHERE _deleted_at IS NULL",
        "full_refresh_replace": "",
        "full_refresh_history": "WHERE _is_current AND _deleted_at IS NULL",
    }[mode]
    assert ids(project, duck, where=living) == list(range(250, 1000)) + [5000]
