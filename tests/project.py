"""A project folder, and the binary run in it."""

import json
import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parent.parent
TOOLS = pathlib.Path(os.environ.get("WEIR_TOOLS", ROOT / ".tools"))


class Project:
    """A project folder and the binary run in it."""

    def __init__(self, binary, folder, env):
        self.binary, self.folder, self.env = binary, folder, env

    def run(self, *args, ok=True, timeout=300, env=None, input=None):
        done = subprocess.run(
            [self.binary, *map(str, args)],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            input=input,
        )
        if ok and done.returncode != 0:
            raise AssertionError(f"weir {' '.join(map(str, args))} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def start(self, *args, env=None):
        return subprocess.Popen(
            [self.binary, *map(str, args)],
            cwd=self.folder,
            env={**self.env, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *args):
        return json.loads(self.run(*args, "--format", "json").stdout)

    def query(self, sql, *args):
        return self.json("query", sql, *args)

    def write(self, path, text):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def connection(self, name, text):
        return self.write(f"connections/{name}.yaml", text)

    @property
    def lake(self):
        return self.folder / "lake"

    def silver(self, table):
        return self.lake / "silver" / table


def make_project(binary, place):
    """An empty project in a new folder within `place`."""
    env = {"PATH": os.environ["PATH"], "HOME": str(place / "home"), "LANG": "C.UTF-8", "TZ": "UTC"}
    (place / "home").mkdir(parents=True)
    folder = place / "project"
    made = Project(binary, place, env)
    made.run("init", folder)
    made.folder = folder
    for sample in (folder / "connections").glob("*.yaml"):
        sample.unlink()
    return made
