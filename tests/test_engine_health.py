"""The questions of `stembridge doctor`, with the answers that a sick machine gives."""

import errno
import json
import os
import shutil
import tempfile

import pytest

from engine import health, models
from engine.errors import StembridgeError


def test_the_embedded_model_is_whole():
    assert health.model_files(models.DEFAULT) > 1_000_000


def test_a_damaged_and_a_missing_file_are_told_apart(tmp_path, monkeypatch):
    folder = tmp_path / models.DEFAULT
    folder.mkdir()
    bundle = models.installed()[models.DEFAULT]
    facts = dict(bundle.facts)
    first = next(iter(facts["files"]))
    facts["files"] = {first: facts["files"][first]}
    (folder / "bundle.json").write_text(json.dumps(facts))
    monkeypatch.setattr(models, "EMBEDDED", tmp_path)
    monkeypatch.setattr(models, "models_folder", lambda: tmp_path / "none")
    with pytest.raises(StembridgeError) as caught:
        health.model_files(models.DEFAULT)
    assert caught.value.code == "model_missing"
    (folder / first).write_bytes(b"other bytes")
    with pytest.raises(StembridgeError) as caught:
        health.model_files(models.DEFAULT)
    assert caught.value.code == "model_corrupt"
    shutil.rmtree(folder)
    with pytest.raises(StembridgeError) as caught:
        health.model_files(models.DEFAULT)
    assert caught.value.code == "unknown_model"


def test_a_folder_that_does_not_exist_yet_is_judged_by_its_parent_and_not_made(tmp_path):
    assert health.writable_bytes(tmp_path / "a" / "b") > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EACCES, "output_not_writable"), (errno.EROFS, None)]
)
def test_what_the_system_refuses_is_named(tmp_path, monkeypatch, number, code):
    def refuse(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(StembridgeError) as caught:
        health.writable_bytes(tmp_path)
    assert caught.value.code == (code or "output_not_writable")
    assert str(tmp_path) in caught.value.text
