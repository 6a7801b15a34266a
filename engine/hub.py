"""What a model hub holds and whom it lets in: files of a repository, and the hub library's errors in our words."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from engine.errors import StembridgeError

HUB: Final = "https://huggingface.co"
TIMEOUT_S: Final = 30.0
"""Without a byte from the hub."""


@dataclass(frozen=True)
class Remote:
    """One file on the hub."""

    repository: str
    name: str
    url: str
    """Of this very revision."""
    etag: str
    """The hub's name for the content: its sha256, or its hash as a git blob; of anything else only the size counts."""
    n_bytes: int | None


def endpoint() -> str:
    """The hub's address; HF_ENDPOINT names another, as for every tool of the hub."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def check_installed() -> None:
    """Raises `StembridgeError` (`runtime_missing`) without the hub's library."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise StembridgeError(
            "runtime_missing", "huggingface_hub is not installed.", "Install it with: pip install 'stembridge[torch]'"
        )


def check_token(token: str | None) -> str | None:
    """The token as it is sent. Raises `StembridgeError` (`bad_value`), never showing it."""
    if token is None:
        return None
    if re.fullmatch(r"[!-~]{1,512}", token.strip()) is None:
        raise StembridgeError("bad_value", "The token is empty or holds characters no token has.", "Copy it again.")
    return token.strip()


def look_up(repository: str, names: Sequence[str], *, token: str | None = None) -> list[Remote]:
    """What the hub says of some files of a repository; transfers nothing.

    `token`: None takes the one that the hub's own login has kept, or HF_TOKEN. Raises `StembridgeError`:
    `unknown_model` without such a repository or file, `access_denied` where the token may not read it,
    `fetch_failed` when the hub cannot be reached or does not make sense, `runtime_missing`, `bad_value`.
    """
    check_installed()
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    token, remotes = check_token(token), []
    for name in names:
        with understood(repository, name, token):
            url = hf_hub_url(repository, name, endpoint=endpoint())
            found = get_hf_file_metadata(url, token=token, timeout=TIMEOUT_S, endpoint=endpoint())
            pinned = hf_hub_url(repository, name, revision=found.commit_hash, endpoint=endpoint())
        if not found.etag or not found.commit_hash:
            raise StembridgeError(
                "fetch_failed",
                f"{endpoint()} does not say which revision of {name} it holds; it is no model hub.",
                "Check HF_ENDPOINT, the proxy and the firewall.",
            )
        remotes.append(Remote(repository, name, pinned, found.etag, found.size))
    return remotes


@contextmanager
def understood(repository: str, name: str, token: str | None) -> Iterator[None]:
    """Whatever the hub's library raises, as a `StembridgeError`."""
    try:
        yield
    except StembridgeError:
        raise
    except Exception as e:
        raise _hub_error(e, repository, name, token) from e


def _hub_error(error: Exception, repository: str, name: str, token: str | None) -> StembridgeError:
    """What an exception of the hub's library means for the person who asked."""
    from huggingface_hub import errors, get_token

    page = f"{endpoint()}/{repository}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    to_log_in = f"make a token at {endpoint()}/settings/tokens and give it with `hf auth login`, HF_TOKEN or --token"
    match error:
        case errors.GatedRepoError() if not (token or get_token()):
            return StembridgeError(
                "access_denied",
                f"{repository} is gated: its owners grant access person by person, and no token says who you are.",
                f"Ask for access at {page}, {to_log_in}, then run the command again.",
            )
        case errors.GatedRepoError():
            return StembridgeError(
                "access_denied",
                f"{repository} is gated, and the account behind the token has not been granted access.",
                f"Ask at {page} (a request can take a while, and can be refused), then run the command again.",
            )
        case errors.EntryNotFoundError() | errors.RevisionNotFoundError():
            return StembridgeError(
                "unknown_model",
                f"{repository} has no file {name}: it is no model that can be imported.",
                "Released models: facebook/sam-audio-small, -base and -large.",
            )
        case errors.RepositoryNotFoundError() | errors.HFValidationError():
            return StembridgeError(
                "unknown_model",
                f"There is no repository {repository!r} on {endpoint()}, or it is private and hidden from you.",
                f"Check the name. If it is private, {to_log_in}.",
            )
        case errors.OfflineModeIsEnabled():
            return StembridgeError("fetch_failed", "HF_HUB_OFFLINE forbids going online.", "Unset it.")
    if status in (401, 403):
        said = error.response.headers.get("X-Error-Message") if hasattr(error, "response") else None
        return StembridgeError(
            "access_denied",
            f"The hub refuses {repository} ({status}: {said or 'no reason given'}).",
            f"Check the token; if it is fine-grained, it must be allowed to read gated repositories. To mend it, "
            f"{to_log_in}.",
        )
    why = f"it answers {status}" if status else f"{type(error).__name__}: {_one_line(error)}"
    return StembridgeError(
        "fetch_failed",
        f"{name} of {repository} cannot be fetched from {endpoint()}: {why}.",
        "Check the network and run the command again: it goes on from where it stopped.",
    )


def _one_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0][:200].rstrip(".")
