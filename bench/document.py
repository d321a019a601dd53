"""Results as a file: one JSON document with the machine, the commit, the date and the rows."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from nnfast.io.atomic import write_atomically

from . import machine as machines
from .rows import Row

FORMAT = 1
LATEST = Path(".benchmarks", "nnfast.json")
"""Where results go that nobody wants to keep, from the repository's root."""
_FIELDS = {field.name for field in dataclasses.fields(Row)}


@dataclasses.dataclass(frozen=True)
class Document:
    """The results of one run.

    Parameters
    ----------
    machine : as `machine.describe` gives it.
    commit, date : of the code, and when it was measured (ISO 8601).
    quick : whether it was the small zoo.
    rows : in the order in which they were measured.
    """

    machine: Mapping[str, Any]
    commit: str
    date: str
    quick: bool
    rows: Sequence[Row]


def document(machine: Mapping[str, Any], quick: bool, rows: Sequence[Row]) -> Document:
    """Results of this commit, measured now."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Document(machine, machines.commit(), now, quick, rows)


def kept_at(found: Document) -> Path:
    """Where results are kept: a folder for each machine, a file for each commit."""
    return machines.ROOT / "bench" / "results" / found.machine["name"] / f"{found.commit}.json"


def write(found: Document, path: Path) -> None:
    """Write the results; numbers that are not finite become null."""
    limits = machines.limits_of(dict(found.machine))
    body = {"format": FORMAT, "machine": found.machine, "commit": found.commit, "date": found.date,
            "quick": found.quick, "rows": [row.to_json(limits) for row in found.rows]}  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as stream:
        stream.write(json.dumps(body, indent=1, allow_nan=False).encode() + b"\n")


def read(path: str | os.PathLike[str]) -> Document:
    """Read what `write` wrote.

    Raises
    ------
    OSError : there is no such file.
    ValueError : it is something else; the message names the file and the field.
    """
    try:
        body = json.loads(Path(path).read_text())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not text") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise ValueError(f"{path}: format is {body.get('format') if isinstance(body, dict) else 'missing'!r}, "
                         f"expected {FORMAT}")  # fmt: skip
    for key, kind in (("machine", dict), ("commit", str), ("date", str), ("quick", bool), ("rows", list)):
        if not isinstance(body.get(key), kind):
            raise ValueError(f"{path}: {key} is missing or no {kind.__name__}")
    try:
        machines.limits_of(body["machine"])
        rows = [_row(entry) for entry in body["rows"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: machine or rows: {type(error).__name__}: {error}") from error
    return Document(body["machine"], body["commit"], body["date"], body["quick"], rows)


def _row(entry: Mapping[str, Any]) -> Row:
    known = {key: value for key, value in entry.items() if key in _FIELDS}
    if known.get("error") is None:
        known["error"] = math.nan
    return Row(**known)
