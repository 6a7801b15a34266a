"""A separation with plugin chains: what is delivered, what still nulls, and what becomes of one that fails."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bridge.plugins.chain import PluginUse, to_text
from bridge.plugins.process import Limits
from bridge.plugins.rendering import separate
from engine.cache import ResultCache
from engine.errors import Cancelled, StembridgeError
from engine.jobs.journal import Journal
from engine.jobs.queue import JobQueue
from engine.models import Shelf
from engine.request import SeparationRequest
from engine.separate import separate as separate_alone

pytestmark = pytest.mark.vst3
FAULTS = (sys.executable, str(Path(__file__).parent / "plugin_faults.py"))
SHELF = Shelf()
HALF = PluginUse(plugin="Gain", parameters={"gain_db": 20 * float(np.log10(0.5))})
LATE = PluginUse(plugin="ZaMaximX2")


@pytest.fixture
def ask(tmp_path, mixture_file):
    source = mixture_file(3.0)

    def make(*, pre=(), post=(), **settings) -> SeparationRequest:
        chains = {"pre": to_text(tuple(pre)), "post": to_text(tuple(post))}
        return SeparationRequest((source,), "vocals", tmp_path / "out", **{"context_s": 0.5, **chains, **settings})

    return make


@pytest.fixture
def faulty(tmp_path):
    def make(fault: str, **settings) -> PluginUse:
        path = tmp_path / f"{fault}.vst3"
        path.touch()
        return PluginUse(plugin=str(path), **settings)

    return make


def read(path: Path | None) -> np.ndarray:
    assert path is not None
    return soundfile.read(path, dtype="float32", always_2d=True)[0]


def told(separation) -> dict:
    return json.loads(separation.manifest.read_text())


def test_a_post_chain_changes_the_stem_it_is_on_and_no_other(ask):
    dry = separate(ask(name="dry"), SHELF)
    wet = separate(ask(post=[HALF, LATE], name="wet"), SHELF)
    np.testing.assert_allclose(read(wet.target), 0.5 * read(dry.target), atol=2e-6)
    np.testing.assert_array_equal(read(wet.residual), read(dry.residual))
    assert wet.treated == ("target",)
    assert wet.null_db == dry.null_db  # of the stems before their plugins
    plugins = told(wet)["plugins"]
    assert plugins["nulls"] is False
    assert [each["plugin"] for each in plugins["target"]["chain"]] == ["Gain", "ZaMaximX2"]
    assert plugins["target"]["chain"][1]["latency_samples"] == 480
    assert plugins["target"]["peak"] == pytest.approx(np.abs(read(wet.target)).max(), abs=1e-5)
    assert "plugins" not in told(dry)


def test_chains_on_the_residual_and_on_both(ask):
    dry = separate(ask(name="dry"), SHELF)
    one = separate(ask(post=[replace(HALF, on="residual")], name="one"), SHELF)
    np.testing.assert_array_equal(read(one.target), read(dry.target))
    np.testing.assert_allclose(read(one.residual), 0.5 * read(dry.residual), atol=1e-6)
    both = separate(ask(post=[replace(HALF, on="both"), replace(HALF, on="residual")], name="both"), SHELF)
    np.testing.assert_allclose(read(both.target), 0.5 * read(dry.target), atol=1e-6)
    np.testing.assert_allclose(read(both.residual), 0.25 * read(dry.residual), atol=1e-6)
    assert both.treated == ("target", "residual")


def test_a_chain_on_a_stem_that_is_not_kept_is_not_even_loaded(ask, faulty):
    made = separate(ask(post=[faulty("crash at load", on="residual")], keep="target"), SHELF, command=FAULTS)
    assert made.treated == ()
    assert made.residual is None


def test_a_pre_chain_changes_what_is_heard_and_the_stems_still_null(ask):
    plain = separate(ask(name="plain"), SHELF)
    muffled = PluginUse(plugin="LowpassFilter", parameters={"cutoff_frequency_hz": 300.0})
    heard = separate(ask(pre=[muffled, LATE], name="heard"), SHELF)
    assert not np.array_equal(read(heard.target), read(plain.target))
    assert heard.null_db <= -120
    mixture = read(ask().source[0])
    np.testing.assert_allclose(read(heard.target) + read(heard.residual), mixture, atol=1e-6)
    assert heard.treated == ()
    assert told(heard)["plugins"]["nulls"] is True
    assert [each["plugin"] for each in told(heard)["plugins"]["pre"]] == ["LowpassFilter", "ZaMaximX2"]


def test_a_pre_chain_that_changes_nothing_changes_nothing(ask):
    plain = separate(ask(name="plain"), SHELF)
    through = separate(ask(pre=[PluginUse(plugin="Gain", parameters={"gain_db": 0.0}), LATE], name="through"), SHELF)
    np.testing.assert_allclose(read(through.target), read(plain.target), atol=1e-5)


def test_a_tail_makes_the_stem_longer_and_says_so(ask):
    made = separate(ask(post=[PluginUse(plugin="Reverb", tail_s=0.5)], end_s=2.0), SHELF)
    assert len(read(made.target)) == made.samples + 22_050
    assert len(read(made.residual)) == made.samples == 88_200
    assert told(made)["plugins"]["target"]["tail_s"] == 0.5


def test_the_same_request_again_is_found_and_another_chain_is_not(ask, tmp_path):
    cache = ResultCache(tmp_path / "cache")
    first = separate(ask(post=[HALF]), SHELF, cache=cache)
    again = separate(ask(post=[HALF]), SHELF, cache=cache)
    assert again.target == first.target
    assert again.treated == first.treated
    dry = separate(ask(), SHELF, cache=cache)  # of the cache, and not the one that was halved
    assert dry.cached
    np.testing.assert_allclose(read(first.target), 0.5 * read(dry.target), atol=1e-6)
    other = separate(ask(post=[LATE]), SHELF, cache=cache)
    assert other.cached
    assert len({first.target, dry.target, other.target}) == 3


@pytest.mark.parametrize("place", ["pre", "post"])
def test_a_plugin_that_crashes_takes_the_job_and_leaves_nothing(ask, faulty, place, tmp_path):
    with pytest.raises(StembridgeError) as caught:
        separate(ask(**{place: [faulty("crash@1000"), HALF]}), SHELF, command=FAULTS)
    assert caught.value.code == "plugin_failed"
    assert "crash@1000 crashed" in caught.value.text
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("place", ["pre", "post"])
def test_one_that_is_not_required_is_left_out_once_and_named(ask, faulty, place):
    dry = separate(ask(name="dry"), SHELF)
    broken = faulty("crash@1000", required=False)
    made = separate(ask(**{place: [broken, HALF] if place == "post" else [broken]}), SHELF, command=FAULTS)
    np.testing.assert_allclose(read(made.target), (0.5 if place == "post" else 1) * read(dry.target), atol=1e-6)
    assert "crash@1000 crashed" in made.note
    assert told(made)["plugins"]["left_out"]["plugin"] == "crash@1000"
    with pytest.raises(StembridgeError, match="crash@2000"):  # once: a second one that fails is not forgiven
        chain = [broken, faulty("crash@2000", required=False)]
        separate(ask(**{place: chain}), SHELF, command=FAULTS)


def test_one_that_is_missing_or_set_wrong(ask):
    gone = PluginUse(plugin="Gone", required=False)
    assert "Gone" in separate(ask(post=[gone]), SHELF).note
    with pytest.raises(StembridgeError) as caught:
        separate(ask(post=[replace(gone, required=True)]), SHELF)
    assert caught.value.code == "plugin_missing"
    wrong = PluginUse(plugin="Gain", parameters={"gain": 1.0}, required=False)
    with pytest.raises(StembridgeError) as caught:  # a mistake is for a person to mend, not to be passed over
        separate(ask(post=[wrong]), SHELF)
    assert caught.value.code == "bad_plugin"


def test_a_cancel_while_a_plugin_works_leaves_nothing(ask, faulty, tmp_path):
    stages = []
    with pytest.raises(Cancelled):
        separate(
            ask(post=[faulty("hang")]),
            SHELF,
            on_progress=lambda progress: stages.append(progress.stage),
            cancelled=lambda: "separating" in stages,
            command=FAULTS,
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_the_queue_goes_on_after_a_plugin_that_hangs(ask, faulty):
    def run(request, on_progress, cancelled):
        limits = Limits(block_s=2)
        return separate(request, SHELF, on_progress=on_progress, cancelled=cancelled, command=FAULTS, limits=limits)

    with Journal(None) as journal, JobQueue(run, journal) as queue:
        bad = queue.submit(ask(post=[faulty("hang")], name="bad"))
        good = queue.submit(ask(post=[HALF], name="good"))
        assert queue.wait(good.id, 120).state == "done"
        code, text = queue.job(bad.id).error
    assert code == "plugin_failed"
    assert "hang did not answer" in text


def test_the_engine_alone_refuses_what_it_does_not_host(ask):
    with pytest.raises(StembridgeError) as caught:
        separate_alone(ask(post=[HALF]), SHELF)
    assert caught.value.code == "unsupported_option"


def test_the_process_that_separates_never_loads_the_host(ask):
    request = json.dumps(ask(pre=[HALF], post=[HALF]).to_dict())
    code = """
        import json, sys
        from bridge.plugins.rendering import separate
        from engine.models import Shelf
        from engine.request import SeparationRequest
        made = separate(SeparationRequest.from_dict(json.loads(sys.argv[1])), Shelf())
        print(made.treated, [name for name in sys.modules if "pedalboard" in name])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), request]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
    assert ran.stdout.split("\n")[0] == "('target',) []"


def test_a_long_chain_needs_no_more_memory_than_a_short_one():
    code = """
        import resource, sys
        import numpy as np
        from bridge.plugins.chain import PluginUse
        from bridge.plugins.process import Worker
        from bridge.plugins.stream import through
        block = np.zeros((2, 65536), np.float32)
        with Worker() as worker:
            worker.open((PluginUse(plugin="BrickwallLimiter"),), 44100, 2)
            n = sum(out.shape[1] for out in through(worker, (block for _ in range(int(sys.argv[1])))))
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(n // 65536, own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    """
    peaks = []
    for n_blocks in (20, 200):  # half a minute, and five: growth shows as well as in sixty
        command = [sys.executable, "-c", textwrap.dedent(code), str(n_blocks)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent)
        n, own, child = map(int, ran.stdout.split())
        assert n == n_blocks
        peaks.append((own, child))
    assert peaks[1][0] <= 1.1 * peaks[0][0]
    assert peaks[1][1] <= 1.1 * peaks[0][1]
