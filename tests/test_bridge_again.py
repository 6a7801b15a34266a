"""A job asked for again: the same region, other words."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_engine import fake_engine

from bridge.api.requests import Again
from bridge.osc.client import Client, new_rid
from engine.errors import StembridgeError

REGION = {"start": 1.5, "end": 4.0, "item": [1.0, 9.0], "position": 96.5, "span+": [[2.0, 3.0]], "context": 2}


def ask(client: Client, job: str, *options: object) -> str:
    return str(client.ask(Again(new_rid(), job, options)).job)


def test_the_region_stays_and_the_words_change(tmp_path: Path) -> None:
    with fake_engine(tmp_path) as engine, Client(engine.port) as client:
        first = client.submit({"path": str(engine.source), "prompt": "vocals", "nfe": 3, "seed": 7, **REGION})
        other = client.submit({"path": str(engine.source), "prompt": "choir"})
        best = ask(client, first, "quality", "best")
        newest = ask(client, "", "prompt", "speech")
        preset = ask(client, first, "preset", "karaoke")
        for job in (first, other, best, newest, preset):
            client.wait(job, timeout_s=60)
        asked = {job: engine.queue.job(job).request for job in (first, best, newest, preset)}
    for job in (best, preset):
        for key in ("source", "start_s", "end_s", "item_start_s", "item_end_s", "spans", "position_s", "out_dir"):
            assert getattr(asked[job], key) == getattr(asked[first], key)
    assert (asked[best].prompt, asked[best].quality, asked[best].nfe, asked[best].seed) == ("vocals", "best", None, 7)
    assert asked[best].context_s == 2
    assert (asked[newest].prompt, asked[newest].start_s, asked[newest].quality) == ("speech", 1.5, "best")
    assert (asked[preset].prompt, asked[preset].keep, asked[preset].seed) == ("vocals", "residual", 0)


def test_the_same_words_again_are_the_same_request(tmp_path: Path) -> None:
    with fake_engine(tmp_path) as engine, Client(engine.port) as client:
        first = client.submit({"path": str(engine.source), "prompt": "vocals", "keep": "target", **REGION})
        second = ask(client, first)
        assert engine.queue.job(first).request == engine.queue.job(second).request


@pytest.mark.vst3
def test_a_presets_plugins_stay_until_another_preset_is_named(tmp_path: Path) -> None:
    with fake_engine(tmp_path) as engine, Client(engine.port) as client:
        wet = client.submit({"path": str(engine.source), "preset": "dialogue-levelled", **REGION})
        more = ask(client, wet, "quality", "draft")
        dry = ask(client, more, "preset", "dialogue")
        back = ask(client, dry, "preset", "vocals-clean")
        chains = [(r.pre, r.post) for r in (engine.queue.job(job).request for job in (wet, more, dry, back))]
    assert all(chains[0])
    assert chains[1] == chains[0]
    assert chains[2] == ("", "")
    assert chains[3][1] not in ("", chains[0][1])


def test_a_repeated_datagram_makes_one_job(tmp_path: Path) -> None:
    with fake_engine(tmp_path) as engine, Client(engine.port) as client:
        client.submit({"path": str(engine.source), "prompt": "vocals"})
        request = Again(new_rid(), "", ())
        assert client.ask(request).job == client.ask(request).job


@pytest.mark.parametrize(
    ("job", "options", "code"),
    [
        ("", (), "unknown_job"),
        ("nobody", (), "unknown_job"),
        ("first", ("start", 1.0), "unknown_key"),
        ("first", ("preset", "no such"), "unknown_preset"),
        ("first", ("prompt", "didgeridoo"), "unsupported_prompt"),
    ],
)
def test_what_cannot_be_asked_again_is_refused(
    tmp_path: Path, job: str, options: tuple[object, ...], code: str
) -> None:
    with fake_engine(tmp_path) as engine, Client(engine.port) as client:
        if job == "first":
            job = client.submit({"path": str(engine.source), "prompt": "vocals"})
        with pytest.raises(StembridgeError) as caught:
            ask(client, job, *options)
        assert caught.value.code == code
