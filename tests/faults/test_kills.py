"""kill -9 at every named fail point and at random moments: nothing lost, nothing doubled, books balanced.

The points are read from docs/reference/failpoints.md; a point without a deed here, or one that no run passes, fails.
"""

import datetime
import pathlib
import random
import re
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor


from project import ROOT
from world import ENTITY, MERGES, MODES, World

AT_ONCE = 3  # worlds beside each other
INCREMENTAL = [name for name, (mode, *_) in MODES.items() if mode.startswith("incremental")]
CHANGING = ["merge", "vectors", "children", "partitioned"]  # what a death saw of a record that changes then is no row
STAGED = ["replace", "refresh_merge"]  # read in full, and exchanged at the end
KEYED = [name for name in MODES if name != "append_keyless"]


# Held records of these are put into the table directly; in others Bronze is replayed with them.
DIRECT = [name for name in INCREMENTAL if name not in ("children", "history")]
# Months whose last day is older than this go.
KEPT = f"{(datetime.date.today() - datetime.date(2026, 3, 5)).days}d"


def documented():
    text = (ROOT / "docs/reference/failpoints.md").read_text()
    return re.findall(r"^\| `([a-z_.]+)` \|", text, re.M)


def in_the_code():
    """Names that the code reaches: `reach("…")` and the constants of weir-control."""
    found = set()
    for path in (ROOT / "crates").glob("*/src/**/*.rs"):
        text = path.read_text()
        if "fail" in text:
            found |= set(re.findall(r'"((?:lake|control)\.(?:before|after|in)_[a-z_]+)"', text))
    return found


class Deed:
    """What passes a point: which modes, what happens before, and the command that dies."""

    def __init__(self, modes, command, before=None, after=None, nth=2, contract="evolve", is_bronze_whole=True,
                 with_lineage=True):
        self.modes, self.command, self.before, self.after = modes, command, before, after
        self.nth, self.contract, self.is_bronze_whole = nth, contract, is_bronze_whole
        self.with_lineage = with_lineage


SYNC = ("sync", "demo", "--checkpoint-rows", "60")


def synced(world):
    world.sync()
    world.change(40)


def grown(world):
    """Rows that come add files; rows that change would rewrite the one there is."""
    for _ in range(3):
        world.sync()
        world.second += 1
        world.grow(30)
    world.sync()


def compacted(world):
    """Files that no version needs any more."""
    grown(world)
    world.project.run("lake", "compact", ENTITY)


def twice(world):
    synced(world)
    world.sync()


def spoiled(world):
    world.sync()
    world.change(20)
    world.spoil(4)


def mended(world):
    """What is held is given up, and the source says it anew."""
    world.project.run("quarantine", "discard", "demo", "records", "--all", "--why", "mended at the source", ok=False)
    world.mend()
    world.sync()


def held(world):
    """Records wait in quarantine that fit as soon as new columns are allowed."""
    world.sync()
    world.change(10)
    for record in world.source.records[-9:]:
        record["extra"] = record["id"]
    world.sync()
    world.describe("evolve")


def given_up(world):
    spoiled(world)
    world.sync()


def restored(world):
    twice(world)
    world.change(10)
    world.sync()


def renamed(world):
    """Bronze that the stream's table does not know: the table is gone."""
    twice(world)
    for table in world.project.lake.glob("silver/demo_records*"):
        shutil.rmtree(table)


def begun_anew(world):
    """A table that is gone with all that it knew: the model of the source begins anew too."""
    world.synced.clear()
    world.seen.clear()
    world.sync()


def cut_then_read_anew(world):
    """Silver retention takes rows that the source still has: a full read brings them back, by a later run."""
    world.sync("--full")


def read_again(world):
    """What appends or keeps versions has those of the old version, and what the source has now."""
    world.seen = dict.fromkeys(world.rows())
    world.sync()


DEEDS = {
    "lake.before_bronze": Deed(list(MODES), SYNC, synced),
    "lake.in_bronze": Deed(list(MODES), SYNC, synced),
    "lake.after_bronze": Deed(list(MODES), SYNC, synced),
    "lake.before_quarantine": Deed(INCREMENTAL, SYNC, spoiled, mended, nth=1),
    "lake.after_quarantine": Deed(INCREMENTAL, SYNC, spoiled, mended, nth=1),
    "lake.after_create": Deed(list(MODES), SYNC, nth=1),
    "lake.before_commit": Deed(list(MODES), SYNC, synced),
    "lake.after_commit": Deed(list(MODES), SYNC, synced),
    "lake.before_child_commit": Deed(["children"], SYNC, synced, nth=1),
    "lake.after_child_commit": Deed(["children"], SYNC, synced, nth=1),
    "lake.before_publish": Deed(STAGED, SYNC, synced, nth=1),
    "lake.in_publish": Deed(STAGED, SYNC, synced, nth=1),
    "lake.after_publish": Deed(STAGED, SYNC, synced, nth=1),
    "lake.before_gold_publish": Deed(list(MODES), ("model", "run"), twice, nth=1),
    "lake.after_gold_publish": Deed(list(MODES), ("model", "run"), twice, nth=1),
    "lake.in_compaction": Deed(INCREMENTAL, ("lake", "compact", ENTITY), grown, nth=1),
    "lake.after_compaction": Deed(INCREMENTAL, ("lake", "compact", ENTITY), grown, nth=1),
    "lake.in_rebuild": Deed(list(MODES), ("lake", "rebuild", "demo", "records"), twice, nth=1),
    "lake.after_rebuild": Deed(list(MODES), ("lake", "rebuild", "demo", "records"), twice, nth=1),
    "lake.in_release": Deed(DIRECT, ("quarantine", "release", "demo", "records", "--all", "--why", "fits"), held,
                            nth=1, contract="quarantine"),
    "lake.after_release": Deed(DIRECT, ("quarantine", "release", "demo", "records", "--all", "--why", "fits"),
                               held, nth=1, contract="quarantine"),
    "lake.in_discard": Deed(INCREMENTAL, ("quarantine", "discard", "demo", "records", "--all", "--why", "bad"), given_up,
                            mended, nth=1),
    "lake.in_set_aside": Deed(KEYED, ("lake", "set-aside", "demo", "records"), renamed, begun_anew,
                              is_bronze_whole=False),
    "lake.in_vacuum": Deed(INCREMENTAL, ("lake", "vacuum", ENTITY, "--keep", "0s"), compacted),
    "lake.after_archive": Deed(list(MODES), ("lake", "retention", "--bronze", "1ms", "--archive", "../cold"), twice,
                               nth=1, is_bronze_whole=False),
    "lake.in_retention": Deed(list(MODES), ("lake", "retention", "--bronze", "1ms", "--archive", "../cold"), twice,
                              is_bronze_whole=False),
    "lake.in_silver_retention": Deed(["partitioned"], ("lake", "retention", "--silver", KEPT, "--archive", "../cold"),
                                     twice, cut_then_read_anew, nth=1, with_lineage=False),
    "lake.after_silver_retention": Deed(["partitioned"],
                                        ("lake", "retention", "--silver", KEPT, "--archive", "../cold"), twice,
                                        cut_then_read_anew, nth=1, with_lineage=False),
    "lake.in_restore": Deed(sorted(MERGES - {"refresh_merge"}) + ["append", "history", "replace"],
                            ("lake", "restore", ENTITY, "--to", "1"), restored, read_again, nth=1),
    "lake.after_restore": Deed(sorted(MERGES - {"refresh_merge"}) + ["append", "history", "replace"],
                               ("lake", "restore", ENTITY, "--to", "1"), restored, read_again, nth=1),
    "control.before_write": Deed(list(MODES), SYNC, synced, nth=5),
    "control.after_start": Deed(list(MODES), SYNC, synced, nth=1),
    "control.after_wish": Deed([m for m in INCREMENTAL if "append" not in m], (*SYNC, "--full"), synced, nth=1),
    "control.before_checkpoint": Deed(list(MODES), SYNC, synced),
    "control.after_receipt": Deed(list(MODES), SYNC, synced),
    "control.after_store": Deed(list(MODES), SYNC, synced),
    "control.before_finish": Deed(list(MODES), SYNC, synced, nth=1),
    "control.before_release": Deed(list(MODES), SYNC, synced, nth=1),
    "control.before_end": Deed(list(MODES), SYNC, synced, nth=1),
}


# These lie off the way of records: who tests deaths there.
ELSEWHERE = {
    "control.after_offer": "faults/test_slice_kills.py",
    "control.before_spool": "faults/test_slice_kills.py",
    "control.after_spool": "faults/test_slice_kills.py",
    "control.before_forget": "faults/test_slice_kills.py",
    "control.after_forget": "faults/test_slice_kills.py",
    "control.oauth_before_store": "test_oauth.py",
    "control.call_after_intent": "test_actions.py",
    "control.call_before_send": "test_actions.py",
    "control.call_after_send": "test_actions.py",
    "control.bundle_after_intent": "faults/test_calls.py",
    "control.bundle_after_register": "faults/test_calls.py",
    "control.bundle_after_step": "faults/test_calls.py",
    "control.bundle_before_undo": "faults/test_calls.py",
    "control.bundle_after_undo": "faults/test_calls.py",
    "control.bundle_before_end": "faults/test_calls.py",
}


def test_every_point_is_documented_and_dies_here():
    points = [point for point in documented() if point not in ELSEWHERE]
    assert len(points) >= 20 and len(set(points)) == len(points)
    here = in_the_code() - set(ELSEWHERE)
    assert set(points) == here == set(DEEDS), set(points) ^ here | set(points) ^ set(DEEDS)
    folder = pathlib.Path(__file__).parent.parent
    assert all(point in (folder / file).read_text() for point, file in ELSEWHERE.items())
    assert set(ELSEWHERE) <= set(documented())


def die_and_go_on(world, point, deed):
    if deed.before:
        deed.before(world)
    nth = world.dice.randint(1, deed.nth)
    died = world.dies_at(point, nth, *deed.command)
    if not died:
        # It passed the point less often, or had too little to do to pass it. What it did stands; the next one dies at once.
        if deed.command[0] == "sync":
            world.ended()
            world.change(30)
            world.grow(130)
        died = world.dies_at(point, 1, *deed.command)
    assert died, f"{point} was never passed"
    if deed.command[0] == "sync":
        world.died()
    has_changed = world.mode in CHANGING and world.dice.random() < 0.5
    if has_changed:
        world.change(10)  # the source does not wait for us
    done = world.project.run(*deed.command, ok=False)
    is_idle = deed.command[0] == "quarantine"  # the decision was carried out by whoever looked next
    assert done.returncode == 0 or is_idle, (point, done.returncode, done.stdout, done.stderr)
    if deed.command[0] == "sync" or not deed.after:
        world.sync() if deed.command[0] != "sync" else world.ended()
    if deed.after:
        deed.after(world)
    # One that died at the very end of its read is ended by the next run; what came since is the one's after it.
    if deed.command[0] == "sync" and has_changed:
        world.sync()
    world.check(deed.is_bronze_whole, deed.with_lineage)


def in_a_world(binary, folder, duck, seed, mode, contract, play):
    world = World(binary, folder, duck, random.Random(seed), mode, contract)
    try:
        play(world)
    finally:
        world.close()


def all_of(tasks):
    """Runs them beside each other; answers with what went wrong."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [(name, pool.submit(task)) for name, task in tasks]
        return [f"{name}: {type(error).__name__}: {error}" for name, task in running if (error := task.exception())]


def test_death_at_every_named_point_then_resume(binary, tmp_path, duck, seed):
    tasks = []
    for place, (point, deed) in enumerate(DEEDS.items()):
        # Each seed takes another mode, so that the long form sees every point in every mode.
        mode = deed.modes[(seed + place) % len(deed.modes)]
        name = f"{point} {mode}"

        def task(point=point, deed=deed, mode=mode):
            play = lambda world: die_and_go_on(world, point, deed)  # noqa: E731
            in_a_world(binary, tmp_path / point, duck, f"{seed}{point}", mode, deed.contract, play)

        tasks.append((name, task))
    wrong = all_of(tasks)
    assert not wrong, f"WEIR_FAULT_SEED={seed}: {len(wrong)} of {len(tasks)} points\n" + "\n\n".join(wrong)


def kill_at_random_moments(world):
    dice = world.dice
    for _ in range(dice.randint(2, 4)):
        world.source.on_page = None
        what = dice.choice(["page", "page", "delay", "model", "compact"])
        if what in ("model", "compact"):
            if not (world.project.silver(ENTITY) / "_delta_log").exists():
                continue
            command = ("model", "run") if what == "model" else ("lake", "compact", ENTITY)
            killed = world.project.start(*command)
            time.sleep(dice.uniform(0, 0.5))
        elif what == "delay":
            killed = world.project.start(*SYNC)
            time.sleep(dice.uniform(0.05, 1.2))
        else:
            at, reached = dice.randint(1, 8), threading.Event()
            world.source.on_page = lambda page, at=at, reached=reached: page >= at and reached.set()
            killed = world.project.start(*SYNC)
            while killed.poll() is None and not reached.wait(0.02):
                pass
            time.sleep(dice.choice([0, 0, 0.01, 0.05]))
        killed.send_signal(signal.SIGKILL)
        _, err = killed.communicate()
        assert killed.returncode in (0, -signal.SIGKILL), err
        if killed.returncode == 0 and what in ("page", "delay"):
            world.ended()
            world.change(30)
        elif killed.returncode and what in ("page", "delay"):
            world.died()
            if world.mode in CHANGING:
                world.change(5)
    world.source.on_page = None
    world.sync()
    if world.mode in CHANGING:
        world.sync()
    world.check()


def test_kill_nine_at_random_moments_then_resume(binary, tmp_path, duck, seed, is_long):
    modes = list(MODES)
    chosen = modes if is_long else [modes[(seed + i * 3) % len(modes)] for i in range(4)]
    tasks = [
        (
            mode,
            lambda mode=mode: in_a_world(
                binary, tmp_path / mode, duck, f"{seed}{mode}", mode, "evolve", kill_at_random_moments
            ),
        )
        for mode in chosen
    ]
    wrong = all_of(tasks)
    assert not wrong, f"WEIR_FAULT_SEED={seed}: {len(wrong)} of {len(tasks)} modes\n" + "\n\n".join(wrong)
