"""A stream keeps who it is between runs: no row doubled, none missed, none lost with its table."""

import re
import shutil
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


def synced(project, source, count=50):
    source.records = [record(i, i) for i in range(count)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    source.records.append(record(count, count))
    project.run("sync", "demo")


def held_back(project):
    return sorted(path.name for path in (project.lake / "bronze").rglob("*.zst"))


def test_a_renamed_connection_is_told_and_not_begun_anew(project, source, duck):
    synced(project, source)
    before = held_back(project)
    (project.folder / "connections/demo.yaml").rename(project.folder / "connections/other.yaml")
    done = project.run("sync", "other", ok=False)
    assert done.returncode != 0 and "'demo'" in done.stderr and "connections/demo.yaml" in done.stderr, done.stderr
    assert held_back(project) == before
    (project.folder / "connections/other.yaml").rename(project.folder / "connections/demo.yaml")
    project.run("sync", "demo")
    assert ids(project, duck) == list(range(51))


@pytest.mark.parametrize("way", ["rebuild", "set-aside"])
def test_a_removed_silver_table_is_told_and_made_again(project, source, duck, way):
    synced(project, source)
    before = held_back(project)
    shutil.rmtree(project.silver("demo_records"))
    # What the source no longer has is in Bronze alone.
    del source.records[:10]
    done = project.run("sync", "demo", ok=False)
    assert done.returncode != 0 and "Bronze" in done.stderr, done.stderr
    assert "weir lake rebuild demo records" in done.stderr and "weir lake set-aside demo records" in done.stderr
    assert held_back(project) == before
    project.run("lake", way, "demo", "records")
    project.run("sync", "demo")
    assert ids(project, duck) == (list(range(51)) if way == "rebuild" else list(range(10, 51)))


def test_a_changed_entity_is_told(project, source, duck):
    synced(project, source)
    text = (project.folder / "connections/demo.yaml").read_text()
    project.connection("demo", text.replace("      path: /records", "      entity: renamed\n      path: /records"))
    done = project.run("sync", "demo", ok=False)
    assert done.returncode != 0 and "entity" in done.stderr, done.stderr
    project.connection("demo", text)
    project.run("sync", "demo")
    assert ids(project, duck) == list(range(51))


def test_an_older_copy_of_the_table_is_told(project, source, tmp_path):
    source.records = [record(i, i) for i in range(50)]
    project.connection("demo", connection(source.url))
    project.run("sync", "demo")
    shutil.copytree(project.silver("demo_records"), tmp_path / "copy")
    source.records.append(record(50, 50))
    project.run("sync", "demo")
    before = held_back(project)
    shutil.rmtree(project.silver("demo_records"))
    shutil.copytree(tmp_path / "copy", project.silver("demo_records"))
    done = project.run("sync", "demo", ok=False)
    assert done.returncode != 0 and "set-aside" in done.stderr, done.stderr
    assert held_back(project) == before
    project.run("lake", "set-aside", "demo", "records")
    project.run("sync", "demo")
    assert len(list((project.lake / "set_aside").rglob("*.zst"))) == 1


def test_two_writers_of_one_table_are_refused(project, source):
    source.records = [record(i, i) for i in range(5)]
    project.connection("one", connection(source.url))
    project.connection("two", connection(source.url))
    for command in (["validate"], ["sync", "one"], ["sync", "two"]):
        done = project.run(*command, ok=False)
        text = done.stdout + done.stderr
        assert done.returncode == 3, (command, text)
        assert "one.records" in text and "two.records" in text, text
    # Names that differ, and tables that do not.
    text = connection(source.url)
    twice = text + text[text.index("    - name:"):].replace("name: records", "name: others\n      entity: records")
    (project.folder / "connections/two.yaml").unlink()
    project.connection("one", twice)
    for command in (["validate"], ["sync", "one"]):
        done = project.run(*command, ok=False)
        text = done.stdout + done.stderr
        assert done.returncode == 3 and re.search(r"one\.(records|others).*one\.(records|others)", text), text
