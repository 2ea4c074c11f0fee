"""Seeds of the fault tests: `WEIR_FAULT_SEEDS` of them, counted on from a base that is printed.

Without settings one seed runs, always the same. `WEIR_FAULT_SEED=N` replays that one alone.
"""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

SEED_OF_THE_SHORT_FORM = 20261121


def seeds():
    if one := os.environ.get("WEIR_FAULT_SEED"):
        return [int(one)]
    if count := os.environ.get("WEIR_FAULT_SEEDS"):
        # Test processes beside each other (pytest -n) begin with the same seed: they inherit it.
        base = int(os.environ.setdefault("WEIR_FAULT_BASE", str(int.from_bytes(os.urandom(4), "big"))))
        return list(range(base, base + int(count)))
    return [SEED_OF_THE_SHORT_FORM]


SEEDS = seeds()


def pytest_sessionstart(session):
    """Before anything runs, for a run may be stopped; not as a header, which a quiet run has not."""
    if terminal := session.config.pluginmanager.get_plugin("terminalreporter"):
        terminal.write_line(f"fault seeds: {SEEDS[0]} to {SEEDS[-1]} (WEIR_FAULT_SEED=N replays one)")


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", SEEDS)


@pytest.fixture(scope="session")
def is_long():
    """Whether this is `make faults`, not the short form within `make test`."""
    return "WEIR_FAULT_SEEDS" in os.environ
