"""The lake in an object store (S3): kills there, and a store that says no, breaks off, forgets its answers, or is late.

The store is moto; what stands in it is copied into a folder to be judged, by the requests of another client.
"""

import json
import random
import signal

import boto3
import botocore.config
import pytest

from project import Project
from store_proxy import FAULTS, StoreProxy
from test_kills import DEEDS, SYNC, all_of, die_and_go_on
from world import ENTITY, World

# What a commit, an exchange and their neighbours leave in a store that has no rename.
POINTS = {
    "lake.in_bronze": ["merge", "replace"],
    "lake.before_commit": ["merge", "replace"],
    "lake.after_commit": ["merge", "replace"],
    "lake.in_publish": ["replace", "refresh_merge"],
    "lake.after_publish": ["replace", "refresh_merge"],
    "lake.after_compaction": ["merge"],
    "lake.in_vacuum": ["merge"],
    "lake.after_rebuild": ["merge", "replace"],
    "control.after_receipt": ["merge", "replace"],
}
MODES = ["merge", "replace", "append", "refresh_merge", "children", "vectors"]
TIMEOUT_S = 2  # of one request to the store; the proxy is later than that


class RemoteProject(Project):
    """A project whose lake is in a bucket; `lake` is a copy of it, fetched when weir ran since."""

    def settle(self, s3, store_url, prefix):
        endpoint, self.bucket = s3
        self.prefix, self.fetched, self.is_stale = prefix, {}, False
        self.client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="test",
            aws_secret_access_key="test", config=botocore.config.Config(retries={"max_attempts": 3}),
        )
        options = {
            "endpoint": store_url, "region": "us-east-1", "access_key_id": "test", "secret_access_key": "test",
            "allow_http": "true", "timeout": f"{TIMEOUT_S}s",
        }
        lake = {"location": f"s3://{self.bucket}/{prefix}", "options": options}
        self.write("weir.yaml", f"project: demo\nlake: {json.dumps(lake)}\n")

    def run(self, *args, **options):
        self.is_stale = True
        return super().run(*args, **options)

    def start(self, *args, **options):
        self.is_stale = True
        return super().start(*args, **options)

    @property
    def lake(self):
        place = self.folder / "copy"
        if self.is_stale:
            self.is_stale = False
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{self.prefix}/")
            there = {o["Key"]: (o["ETag"], o["LastModified"]) for page in pages for o in page.get("Contents", [])}
            for key in self.fetched.keys() - there.keys():
                (place / key.removeprefix(f"{self.prefix}/")).unlink()
            for key, tag in there.items():
                if self.fetched.get(key) != tag:
                    path = place / key.removeprefix(f"{self.prefix}/")
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())
            self.fetched = there
        return place


class RemoteWorld(World):
    """A world whose lake is in the bucket."""

    def move(self, s3, store_url, prefix):
        self.project.__class__ = RemoteProject
        self.project.settle(s3, store_url, prefix)


def in_the_store(binary, folder, duck, s3, seed, mode, play, contract="evolve"):
    dice = random.Random(seed)
    with StoreProxy(s3[0], dice) as proxy:
        world = RemoteWorld(binary, folder, duck, dice, mode, contract)
        world.move(s3, proxy.url, f"{folder.parent.name}-{folder.name}")
        try:
            play(world, proxy)
        finally:
            world.close()
    assert not proxy.unguarded, f"commits that nothing kept from overwriting another: {proxy.unguarded[:3]}"
    twice = [path for path, count in proxy.commits.items() if count > 1 and "staging" not in path]
    assert not twice, f"versions that were written twice: {twice[:3]}"
    assert proxy.commits


def test_death_at_a_point_with_the_lake_in_an_object_store(binary, tmp_path, duck, s3, seed, is_long):
    if not is_long:
        pytest.skip("the long form: make faults")
    tasks = []
    for place, point in enumerate(POINTS):
        mode = POINTS[point][(seed + place) % len(POINTS[point])]

        def task(point=point, mode=mode):
            play = lambda world, _: die_and_go_on(world, point, DEEDS[point])  # noqa: E731
            in_the_store(binary, tmp_path / point, duck, s3, f"{seed}{point}", mode, play, DEEDS[point].contract)

        tasks.append((f"{point} {mode}", task))
    wrong = all_of(tasks)
    assert not wrong, f"WEIR_FAULT_SEED={seed}: {len(wrong)} of {len(tasks)} points\n" + "\n\n".join(wrong)


def attempt(world, *command):
    """Ends well, or with an error of the destination that names what comes next."""
    done = world.project.run(*command, ok=False)
    assert done.returncode in (0, 5), (command, done.returncode, done.stdout, done.stderr)
    assert done.returncode == 0 or "next:" in done.stderr, (command, done.stderr)
    return done.returncode == 0


def go_on_through_faults(world, proxy):
    """Syncs, and what tidies up, while the store fails; then all is well again, and nothing may be lost or doubled."""
    for _ in range(3):
        proxy.rate = world.dice.choice([0.03, 0.1, 0.3])
        if attempt(world, *SYNC):
            world.ended()
            world.change(30)
        else:
            world.died()
        command = world.dice.choice([("lake", "compact", ENTITY), ("lake", "vacuum", ENTITY), ("model", "run")])
        if (world.project.silver(ENTITY) / "_delta_log").exists():
            attempt(world, *command)
    if world.dice.random() < 0.5:
        killed = world.project.start(*SYNC)
        try:
            killed.wait(world.dice.uniform(0.1, 2))
        except Exception:  # noqa: BLE001
            killed.send_signal(signal.SIGKILL)
        killed.communicate()
        world.ended() if killed.returncode == 0 else world.died()
    proxy.rate = 0
    world.sync()
    world.sync()
    world.check()


@pytest.mark.parametrize("kind", ["all", *FAULTS])
def test_a_store_that_fails(binary, tmp_path, duck, s3, seed, is_long, kind):
    if not is_long and kind != "all":
        pytest.skip("the long form: make faults")

    def play(world, proxy):
        proxy.faults = FAULTS if kind == "all" else [kind]
        go_on_through_faults(world, proxy)
        assert proxy.met or kind != "all"

    name = kind.replace(" ", "-")
    mode = MODES[(seed + FAULTS.index(kind) if kind in FAULTS else seed) % len(MODES)]
    in_the_store(binary, tmp_path / name, duck, s3, f"{seed}{kind}", mode, play)


def test_two_writers_and_a_store_that_fails(binary, tmp_path, duck, s3, seed, is_long):
    """Syncs and compactions at once, through a store that fails: each version has one writer."""
    if not is_long:
        pytest.skip("the long form: make faults")

    def play(world, proxy):
        world.sync()
        world.change(60)
        proxy.rate = 0.05
        running = [world.project.start(*SYNC), world.project.start("lake", "compact", ENTITY), world.project.start(*SYNC)]
        ended = [(one.communicate()[1], one.returncode) for one in running]
        for err, code in ended:
            assert code in (0, 5) or "next:" in err, (code, err)
        proxy.rate = 0
        world.sync()
        world.check()

    in_the_store(binary, tmp_path / "two", duck, s3, f"{seed}two", "merge", play)
