"""How much a batch will write, and whether its disks have room for it."""

from __future__ import annotations

import shutil
from pathlib import Path

from bridge.batch.memory import Earlier
from bridge.batch.plan import BatchPlan
from bridge.sessions.reading import HOLDING_STEMS
from engine.errors import StembridgeError


def session_bytes(plan: BatchPlan) -> int:
    """Of the new session, where it will hold the stems themselves; else nothing to speak of."""
    if plan.session.format not in HOLDING_STEMS:
        return 0
    return plan.n_bytes + plan.session.path.stat().st_size


def require_room(plan: BatchPlan, out_dir: Path, earlier: Earlier, *, new_session: bool) -> None:
    """Raises `StembridgeError` (`disk_full`) where a disk has no room for what is still to be written to it."""
    left = [job for job in plan.jobs if not earlier.is_done(job)]
    members = {
        path: media.n_bytes
        for job in left
        for path, media in zip(job.request.source, job.media, strict=False)
        if media.member is not None and not path.exists()
    }
    needs = [(out_dir, sum(job.n_bytes for job in left) + sum(members.values()))]
    if new_session:
        needs.append((plan.session.path.absolute().parent, session_bytes(plan)))
    on_disk: dict[int, tuple[Path, int]] = {}
    for folder, n_bytes in needs:
        nearest = next(p for p in (folder, *folder.parents) if p.exists())
        disk = nearest.stat().st_dev
        first, sum_bytes = on_disk.get(disk, (nearest, 0))
        on_disk[disk] = first, sum_bytes + n_bytes
    for folder, needed in on_disk.values():
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise StembridgeError(
                "disk_full",
                f"The stems need {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB left.",
                "Choose another folder with --out, write one stem of two with --keep target, or free some space.",
            )
