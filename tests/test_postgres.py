"""The PostgreSQL that tests run beside."""

import postgres
import pytest


def test_postgresql_is_left_out_only_on_purpose(monkeypatch):
    monkeypatch.setattr(postgres, "program", lambda name: None)
    monkeypatch.delenv(postgres.WITHOUT, raising=False)
    with pytest.raises(SystemExit, match="apt-get install postgresql"):
        postgres.main(["true"])
    monkeypatch.setenv(postgres.WITHOUT, "1")
    assert postgres.main(["false"]) == 0
