"""The order in which jobs wait: highest priority first, equal priorities in order of arrival."""

from __future__ import annotations

from collections import OrderedDict


class WaitingLine:
    """Ids in waiting order; adding, removing and finding the first are fast at any length. Not thread-safe."""

    def __init__(self) -> None:
        self._ids: dict[int, OrderedDict[str, None]] = {}
        """priority → ids in order of arrival; no empty entries."""

    def __bool__(self) -> bool:
        return bool(self._ids)  # of one look, so that it may be asked without the queue's lock

    def __len__(self) -> int:
        return sum(len(ids) for ids in self._ids.values())

    def add(self, job_id: str, priority: int, *, at_front: bool = False) -> None:
        """The id waits behind its equals, or before them when `at_front`."""
        ids = self._ids.setdefault(priority, OrderedDict())
        ids[job_id] = None
        if at_front:
            ids.move_to_end(job_id, last=False)

    def remove(self, job_id: str, priority: int) -> None:
        """The id waits no longer. Raises `KeyError` when it did not wait at that priority."""
        ids = self._ids[priority]
        del ids[job_id]
        if not ids:
            del self._ids[priority]

    def first(self) -> str:
        """The id whose turn it is, left in place. Raises `ValueError` when nobody waits."""
        return next(iter(self._ids[max(self._ids)]))
