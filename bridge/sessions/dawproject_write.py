"""A new `.dawproject` beside the old one: the stems inside it, on tracks of their own; all else byte for byte."""

from __future__ import annotations

import copy
import shutil
import zipfile
from pathlib import Path
from typing import Final

from bridge.sessions.archive import open_archive, read_member
from bridge.sessions.dawproject import PROJECT
from bridge.sessions.media import bad_session
from bridge.sessions.model import NewClip, NewTrack, Session
from bridge.sessions.xml_text import ET, insert, read_xml, serialised

FOLDER: Final = "audio/stembridge"


def write_dawproject(session: Session, new: tuple[NewTrack, ...], path: Path) -> None:
    """The archive copied as it is; `project.xml` is replaced by one with the tracks, and the stems are appended.

    Raises `StembridgeError` as the reader, and `OSError`.
    """
    with open_archive(session.path) as archive:
        data = read_member(archive, session.path, PROJECT)
        taken = set(archive.namelist())
    root = read_xml(data, session.path, "Project")
    elements = list(root.iter())
    ids = {element.get("id") for element in elements}
    tracks, lanes = [], []
    members: dict[str, Path] = {}
    for n, track in enumerate(new, 1):
        track_id = _free(f"stembridge-{n}", ids)
        tracks.append(_track(track, elements[track.of.mark], track_id, ids))
        lane = ET.Element("Lanes", {"track": track_id, "timeUnit": "seconds", "id": _free(f"{track_id}-lanes", ids)})
        clips = ET.SubElement(lane, "Clips", {"id": _free(f"{track_id}-clips", ids)})
        for clip in track.clips:
            member = _member(clip.file.name, taken)
            members[member] = clip.file
            clips.append(_clip(clip, member))
        lanes.append(lane)
    places = {("Structure",): tracks, ("Arrangement", "Lanes"): lanes}
    added = {place: "".join(f"{serialised(e)}\n" for e in made) for place, made in places.items()}
    changed = insert(data, session.path, added)
    shutil.copyfile(session.path, path)
    try:
        with zipfile.ZipFile(path, "a") as archive:
            old = archive.getinfo(PROJECT)
            # Leaves the directory, not the file: every other member stays where and as it is.
            archive.filelist[:] = [info for info in archive.filelist if info.filename != PROJECT]
            del archive.NameToInfo[PROJECT]
            fresh = zipfile.ZipInfo(PROJECT, old.date_time)
            fresh.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(fresh, changed)
            for member, file in members.items():
                archive.write(file, member, zipfile.ZIP_STORED)
    except zipfile.BadZipFile as e:
        raise bad_session(session.path, f"is an archive that cannot be added to: {e}") from e


def _track(track: NewTrack, old: ET.Element, track_id: str, ids: set[str | None]) -> ET.Element:
    """A track that goes where the old one goes, with its volume and pan."""
    attributes = {"contentType": "audio", "loaded": "true", "id": track_id, "name": track.name}
    if old.get("color"):
        attributes["color"] = old.get("color", "")
    made = ET.Element("Track", attributes)
    before = old.find("Channel")
    channels = str(max(clip.channels for clip in track.clips))
    channel = ET.SubElement(made, "Channel", {"audioChannels": channels, "role": "regular"})
    channel.set("id", _free(f"{track_id}-channel", ids))
    if before is not None and before.get("destination"):
        channel.set("destination", before.get("destination", ""))
    muted = str(track.muted).lower()
    ET.SubElement(channel, "Mute", {"value": muted, "id": _free(f"{track_id}-mute", ids), "name": "Mute"})
    for tag in ("Pan", "Volume"):  # in the schema's order
        parameter = None if before is None else before.find(tag)
        if parameter is not None:
            kept = copy.deepcopy(parameter)
            kept.set("id", _free(f"{track_id}-{tag.lower()}", ids))
            kept.tail = None
            channel.append(kept)
    return made


def _clip(clip: NewClip, member: str) -> ET.Element:
    attributes = {"time": repr(clip.of.position_s), "duration": repr(clip.length_s), "contentTimeUnit": "seconds"}
    attributes |= {"playStart": "0.0", "fadeTimeUnit": "seconds", "fadeInTime": repr(clip.of.fade_in_s)}
    made = ET.Element("Clip", attributes | {"fadeOutTime": repr(clip.of.fade_out_s), "name": clip.file.stem})
    facts = {"channels": str(clip.channels), "duration": repr(clip.length_s), "sampleRate": str(clip.rate_hz)}
    audio = ET.SubElement(made, "Audio", facts | {"timeUnit": "seconds", "algorithm": "raw"})
    ET.SubElement(audio, "File", {"path": member})
    return made


def _free(wanted: str, ids: set[str | None]) -> str:
    n, found = 1, wanted
    while found in ids:
        n += 1
        found = f"{wanted}-{n}"
    ids.add(found)
    return found


def _member(name: str, taken: set[str]) -> str:
    plain = name.replace("\\", " ").replace("/", " ")
    n, found = 1, f"{FOLDER}/{plain}"
    while found in taken:
        n += 1
        found = f"{FOLDER}/{n} {plain}"
    taken.add(found)
    return found
