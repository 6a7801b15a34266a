"""The plan of a batch: a session's clips × prompts → requests, and what is left out and why. Renders nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from bridge.asking.intake import to_request
from bridge.asking.paths import PathPolicy
from bridge.asking.presets import Preset, find_preset, load_presets
from bridge.asking.prompts import prompt_from_track
from bridge.batch.names import own_names, plain
from bridge.sessions.model import OBSTACLES, Clip, Marker, Media, Session, Track
from engine import models
from engine.audio import SourceInfo, inspect
from engine.errors import StembridgeError
from engine.request import Output, SeparationRequest, Sign
from engine.stems import stem_name

MIN_CLIP_S: Final = 0.01
_REPEATED_S: Final = 1e-3
"""A clip that begins its file anew for less than this is as good as one that ends with it."""
_STAND_IN: Final = str(Path(__file__).resolve())
_HARMLESS: Final = frozenset(("no_prompt", "unsupported_prompt", "midi", "muted", "no_media"))
"""Reasons that nobody needs to mend: the clip was never meant to be rendered."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of every track: a prompt or a preset, or, where neither is given, what the track's name says."""

    prompt: str | None = None
    preset: str | None = None


@dataclass(frozen=True)
class Options:
    """Fields of every request, as `bridge.api.fields` names them, and the tracks that are wanted (none: all)."""

    wanted: tuple[Wanted, ...] = (Wanted(),)
    fields: Mapping[str, object] | None = None
    tracks: tuple[str, ...] = ()


def options_of(
    tracks: Sequence[str] | None,
    prompts: Sequence[str] | None,
    presets: Sequence[str] | None,
    fields: Mapping[str, object],
) -> Options:
    """Prompts and presets side by side; a single prompt is what the presets are used with."""
    wanted = [Wanted(prompt, preset) for preset in presets or (None,) for prompt in prompts or (None,)]
    return Options(tuple(dict.fromkeys(wanted)), fields, tuple(tracks or ()))


@dataclass(frozen=True)
class PlannedJob:
    """One stem to make."""

    track: int
    """Its place among the session's tracks."""
    clip: int
    """Its place among the track's clips."""
    request: SeparationRequest
    length_s: float
    n_bytes: int
    """Of the stems that will be written."""
    media: tuple[Media, ...]
    """The request's sources; those inside an archive are put where the request says before they are read."""
    model: str
    """The name of the model that will answer."""


@dataclass(frozen=True)
class Skipped:
    """One clip, or a track, that is left out for one prompt."""

    track: str
    clip: str
    position_s: float | None
    code: str
    text: str

    @property
    def problem(self) -> bool:
        """Whether somebody should look at it."""
        return self.code not in _HARMLESS


@dataclass(frozen=True)
class BatchPlan:
    """What a batch will do."""

    session: Session
    jobs: tuple[PlannedJob, ...]
    skipped: tuple[Skipped, ...]

    @property
    def audio_s(self) -> float:
        """Seconds of audio to separate."""
        return sum(job.length_s for job in self.jobs)

    @property
    def n_bytes(self) -> int:
        """Of all stems."""
        return sum(job.n_bytes for job in self.jobs)


def plan_batch(
    session: Session,
    options: Options,
    out_dir: Path,
    media_dir: Path,
    *,
    presets: Callable[[], Mapping[str, Preset]] = load_presets,
    choose: Callable[[SeparationRequest], str] = models.choose,
    readable_media: Callable[[Path], Path] = Path.resolve,
) -> BatchPlan:
    """The plan; reads headers of audio files and nothing else. Media inside an archive is expected in `media_dir`.

    `readable_media` answers the real path of a file the session names, or raises `StembridgeError` (`path_refused`): a
    session that came over the wire must not make the engine read what its sender may not.

    Raises `StembridgeError` for what is wrong with the whole (a preset or a track that does not exist, an option out of
    range); what is wrong with one clip is in `skipped`.
    """
    planner = _Planner(session, options, out_dir, media_dir, dict(presets()), choose, readable_media)
    found = [each for n in planner.chosen() for each in planner.track(n)]
    jobs = [each for each in found if isinstance(each, PlannedJob)]
    names = own_names([str(job.request.name) for job in jobs])
    named = [replace(job, request=replace(job.request, name=name)) for job, name in zip(jobs, names, strict=True)]
    return BatchPlan(session, tuple(named), tuple(each for each in found if isinstance(each, Skipped)))


class _Planner:
    """What is the same for every clip of one plan."""

    def __init__(
        self,
        session: Session,
        options: Options,
        out_dir: Path,
        media_dir: Path,
        presets: dict[str, Preset],
        choose: Callable[[SeparationRequest], str],
        readable_media: Callable[[Path], Path],
    ) -> None:
        self.session, self.options, self.media_dir = session, options, media_dir
        self.policy = PathPolicy((Path(Path(_STAND_IN).anchor),), out_dir.absolute())
        self.presets = presets
        for each in options.wanted:
            if each.preset is not None:
                find_preset(each.preset, presets)
        self.inspect = cache(inspect)
        self.real = cache(readable_media)
        self.choose = cache(lambda *asked: choose(self._probe(*asked)))
        self.prompt_of = cache(prompt_from_track)

    def chosen(self) -> list[int]:
        """The tracks that are wanted, each named one at least once. Raises `StembridgeError` (`bad_value`)."""
        tracks = self.session.tracks
        names = {track.name.casefold() for track in tracks}
        for wanted in self.options.tracks:
            if wanted.casefold() not in names:
                listed = ", ".join(repr(track.name) for track in tracks[:12]) or "none"
                raise StembridgeError("bad_value", f"There is no track {wanted!r}.", f"The tracks are {listed}.")
        keys = {wanted.casefold() for wanted in self.options.tracks}
        return [n for n, track in enumerate(tracks) if not keys or track.name.casefold() in keys]

    def track(self, n: int) -> Iterator[PlannedJob | Skipped]:
        track = self.session.tracks[n]
        if track.muted and not self.options.tracks and track.clips:
            yield Skipped(track.name, "", None, "muted", "The track is muted; name it with --track to render it.")
            return
        unnamed = False
        for at, clip in enumerate(track.clips):
            refused = self._refused(track, clip)
            if refused is not None:
                yield refused
                continue
            for wanted in self.options.wanted:
                try:
                    yield self._job(n, at, wanted)
                except StembridgeError as e:
                    if e.code != "no_prompt":
                        yield Skipped(track.name, clip.name, clip.position_s, e.code, e.text)
                    elif not unnamed:  # once a track: its name is the same for every clip
                        unnamed = True
                        yield Skipped(track.name, "", None, e.code, e.text)

    def _refused(self, track: Track, clip: Clip) -> Skipped | None:
        """What keeps a clip out whatever is asked of it."""
        missing = next((m for m in clip.media if m.path is None and m.member is None), None)
        if clip.muted:
            code, text = "muted", "The clip is muted."
        elif clip.obstacle:
            code, text = clip.obstacle, OBSTACLES[clip.obstacle]
        elif self._repeated(clip):
            code, text = "looped", OBSTACLES["looped"]
        elif missing is not None:
            code, text = "file_not_found", f"Its file {missing.reference} is not on this machine."
        else:
            return None
        return Skipped(track.name, clip.name, clip.position_s, code, text)

    def _repeated(self, clip: Clip) -> bool:
        """Whether the clip plays its file more than once: a DAW sets it to repeat, and it is longer than the file."""
        if not clip.repeats or any(media.path is None for media in clip.media):
            return False
        try:
            _, info = self._sources(clip)
        except StembridgeError:
            return False  # the job says why it cannot be read
        return clip.source_start_s + clip.length_s > info.samples / info.sample_rate + _REPEATED_S

    def _job(self, n: int, at: int, wanted: Wanted) -> PlannedJob:
        track = self.session.tracks[n]
        clip = track.clips[at]
        sources, info = self._sources(clip)
        fields: dict[str, object] = dict(self.options.fields or {})
        preset = self.presets[wanted.preset] if wanted.preset is not None else None
        prompt = wanted.prompt or (preset.prompt if preset else None) or self.prompt_of(track.name)
        if prompt is None:
            raise StembridgeError(
                "no_prompt", f"The track's name {track.name[:80]!r} does not say what to extract.", "Name it."
            )
        start_s = clip.source_start_s
        end_s = min(start_s + clip.length_s, info.samples / info.sample_rate)
        if clip.obstacle == "" and end_s - start_s < MIN_CLIP_S:
            raise StembridgeError("bad_region", "The clip lies behind the end of its file.", "Trim it in the DAW.")
        fields |= {"prompt": prompt, "start": start_s}
        fields |= {"item": [start_s, end_s], "position": clip.position_s}
        if wanted.preset is not None:
            fields["preset"] = wanted.preset
        for sign, spans in self._spans(clip, prompt, start_s, end_s).items():
            fields[f"span{sign}"] = spans
        # A file that is there stands in for the media: what lies inside an archive is no file yet.
        request = to_request(fields | {"path": _STAND_IN}, self.policy, presets=lambda: self.presets)
        request = replace(request, source=sources, name=self._name(track, clip, preset, prompt))
        model = self.choose(request.prompt, request.model, request.output)
        n_stems = 2 if request.keep == "both" else 1
        samples = round((end_s - start_s) * info.sample_rate)
        return PlannedJob(n, at, request, end_s - start_s, n_stems * samples * info.channels * 4, clip.media, model)

    def _sources(self, clip: Clip) -> tuple[tuple[Path, ...], SourceInfo]:
        """The files, and what they hold: read from their headers, or as the session declares it."""
        if all(media.path is not None for media in clip.media):
            paths = tuple(dict.fromkeys(self.real(media.path) for media in clip.media if media.path is not None))
            info: SourceInfo = self.inspect(paths)
            used = [(self.real(media.path), media.channel) for media in clip.media if media.path is not None]
            if any(channel is not None for _, channel in used):
                whole = [(p, c) for p in paths for c in range(self.inspect((p,)).channels)]
                if [(p, c or 0) for p, c in used] != whole:
                    raise StembridgeError("unsupported_option", OBSTACLES["one_channel"])
            return paths, info
        declared = [media.declared for media in clip.media]
        length_s, rate_hz, channels = next(d for d in declared if d is not None)
        paths = tuple(self.media_dir / media.stamp / str(media.member) for media in clip.media)
        return paths, SourceInfo(paths, rate_hz, channels, round(length_s * rate_hz), ("",))

    def _probe(self, prompt: str, model: str | None, output: Output) -> SeparationRequest:
        """What decides which model answers; a thousand clips ask for few of these."""
        return SeparationRequest((Path("x"),), prompt, Path(), model=model, output=output)

    def _name(self, track: Track, clip: Clip, preset: Preset | None, prompt: str) -> str:
        if preset is not None and preset.naming is not None:
            source = clip.media[0].path or Path(clip.media[0].member or track.name)
            named = preset.file_name(source=source, prompt=prompt, track=track.name)
            if named is not None:
                return named
        return stem_name(Path(f"{plain(track.name)}.x"), prompt)

    def _spans(self, clip: Clip, prompt: str, start_s: float, end_s: float) -> dict[Sign, list[list[float]]]:
        """The session's regions that name the prompt, as stretches of the clip's file."""
        spans: dict[Sign, list[list[float]]] = {}
        for marker in self.session.markers:
            sign = self._sign(marker, prompt)
            if sign is None or marker.end_s is None:
                continue
            low = max(start_s, start_s + marker.position_s - clip.position_s)
            high = min(end_s, start_s + marker.end_s - clip.position_s)
            if low < high:
                spans.setdefault(sign, []).append([low, high])
        return spans

    def _sign(self, marker: Marker, prompt: str) -> Sign | None:
        """`+` for a region named after the prompt, `-` for one named `-`, `no …` or `- …` after it."""
        name = marker.name.strip()
        if name in ("-", "−", "–"):
            return "-"
        bare = name.removeprefix("-").strip() if name.startswith("-") else name
        if name[:3].casefold() == "no ":
            bare = name[3:].strip()
        if bare.casefold() != prompt.casefold() and self.prompt_of(bare) != prompt:
            return None
        return "+" if bare == name else "-"
