"""The data of a run on record: what they were by content, and the same data again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from inference.precision import original
from pyro_models import ImageData, Pair, UsageError, load_data
from pyro_models.contract import module_of
from pyro_models.data import DATA_SETS, Identity, Split, Table
from pyro_models.data.from_table import ENDINGS, is_table

__all__ = [
    "UNKNOWN",
    "Recalled",
    "check_held_out",
    "columns_on",
    "describe_data",
    "differs_from_record",
    "is_labelled_only",
    "plain_fields",
    "recall",
    "remember",
]

PLAIN = ("preparation", "levels", "labels_kept", "splits", "seen")
UNKNOWN = "the identity of the data is not on record, only their name and sizes were compared"


def describe_data(data: ImageData) -> dict[str, Any]:
    """What a run keeps of its data, in plain values."""
    return {
        "name": data.name,
        "source": data.source,
        "preparation": data.preparation,
        "levels": data.levels,
        "num_classes": data.num_classes,
        "labels_kept": None if data.labels_kept is None else list(data.labels_kept),
        "labelled_only": data.labelled_only,
        "splits": {name: len(split) for name, split in data.splits.items()},
        "split_seed": data.split_seed,
        "test_fraction": data.test_fraction,
        "scaling": data.scaling,
        "identity": data.identity.to_dict(),
        **({} if data.written is None else {"written": list(data.written)}),
        **({} if data.missing is None else {"missing": data.missing}),
        **({} if data.table is None else {"table": data.table.to_dict()}),
    }


def plain_fields(record: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record, beside another one, is compared as it stands; its content is not in it.

    The name of a file is none of it: the same content may lie in another place, or come as an array
    of another kind, and may bring labels besides.
    """
    both = (record, other)
    known = all(of.get("identity") for of in both)
    by_content = known and all(str(of.get("name")).startswith("array-") for of in both)
    named = not by_content and not any(of.get("source") for of in both)
    names = [*PLAIN, *(("name",) if named else ()), *(() if known else ("num_classes",))]
    return {f"data {name}": record[name] for name in names if name in record}


def differs_from_record(now: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """How the content of data, as :func:`describe_data` says it, differs from that on record.

    ``None`` if it does not, or one of the two is unknown.
    """
    was = Identity.from_dict(record.get("identity"))
    own = Identity.from_dict(now.get("identity"))
    if was is None or own is None:
        return None
    if not was.labels or not own.labels:  # the same pixels, with labels or without
        was, own = replace(was, labels={}), replace(own, labels={})
    return own.differs_from(was) or _written_since(now, record)


def _written_since(now: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """Whether a file whose identity is that of a sample was written to, as far as can be told."""
    own, was = now.get("written"), record.get("written")
    if own is None or was is None or own == was:
        return None
    same_file = now.get("source") is not None and now.get("source") == record.get("source")
    return "the file was written to since" if same_file or own[0] != was[0] else None


@dataclass(frozen=True)
class Recalled:
    """The data of a run, loaded again.

    Attributes
    ----------
    data
        Split, labelled and prepared as for the run.
    place
        The name or path that they were loaded from.
    note
        What is to be said of them, in one line; empty if nothing.
    """

    data: ImageData
    place: str
    note: str = ""


def recall(record: Mapping[str, Any], *, run: str, given: str | None = None) -> Recalled:
    """Load the data of a run again, as they were split, labelled and prepared.

    A file is looked for where its name says, from the present folder, and where it was. It is the
    one if its content is; a file of the same name that differs is not taken for it.

    Parameters
    ----------
    record
        What the run keeps of its data.
    run
        Its folder, for what is said.
    given
        Other data, or another place of the same: what differs is said and not refused.

    Raises
    ------
    UsageError
        In one line: the data are not there, or have changed since.
    """
    if given is not None:
        return _recall_given(record, run=run, given=given)
    name = str(record["name"])
    places = [name] if name in DATA_SETS else _places(record)
    if not places:
        raise UsageError(
            f"{run} was trained on data in memory ({name}): save them with "
            f"{'to_csv' if 'table' in record else 'numpy.save'}, and name the file with --data"
        )
    there = [p for p in places if p in DATA_SETS or Path(p).is_file()]
    if not there:
        raise UsageError(
            f"the data of {run} are not there ({' nor '.join(places)}): name their file with --data"
        )
    first: str | None = None
    for place in there:
        data = _load(place, record)
        why = _difference(data, record)
        if why is None:
            note = _unknown(record, run)
            if place != there[0]:
                note = f"{there[0]} here is another file than that of {run}, which is {place}"
            return Recalled(data, place, note)
        first = first or why
    hint = "" if name in DATA_SETS else "restore the file, or "
    raise UsageError(
        f"{there[0]} is not what {run} was trained on, or has changed since ({first}): {hint}name "
        "the data with --data"
    )


def _places(record: Mapping[str, Any]) -> list[str]:
    """Where the file of a record may be: by its name from here, and where it was."""
    if Path(str(record["name"])).suffix not in (".npy", ".npz", *ENDINGS):
        return []
    found = [str(record["name"]), record.get("source")]
    return list(dict.fromkeys(place for place in found if place is not None))


def _read_as_itself(place: str, record: Mapping[str, Any]) -> ImageData:
    """Other data on their own terms; of the levels on record only where these leave it open.

    Rows of another table are in the columns of the one on record.
    """
    if "table" in record and is_table(place):
        return load_data(place, like=Table.from_dict(record["table"]), missing="unseen")
    options = _reading(place, record)
    levels = options.pop("levels", None)
    try:
        return load_data(place, **options)
    except UsageError:
        if levels is None or record["name"] in DATA_SETS:
            raise
        return load_data(place, levels=levels, **options)


def _load(place: str, record: Mapping[str, Any]) -> ImageData:
    data = load_data(place, **_reading(place, record))
    if record.get("labels_kept"):
        count, seed = record["labels_kept"]
        data = data.with_labels(count, seed=seed)
    if is_labelled_only(record):
        data = data.labelled()
    return _prepared(data, record)


def is_labelled_only(record: Mapping[str, Any]) -> bool:
    """Whether a run was trained on the data with a label alone."""
    if "labelled_only" in record:
        return bool(record["labelled_only"])
    kept = record.get("labels_kept")  # of an earlier version
    return kept is not None and record.get("splits", {}).get("train") == kept[0]


def _reading(place: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``load_data`` that follow from a record."""
    options: dict[str, Any] = {"all_training": "validation" not in record["splits"]}
    if place not in DATA_SETS or place == record.get("name"):
        options["levels"] = record.get("levels")
    if place not in DATA_SETS:
        options["seed"] = record.get("split_seed") or 0
        options["test_fraction"] = record.get("test_fraction")
        options["stream"] = "written" in record
        options["missing"] = record.get("missing")
    return {**options, **(columns_on(record) if is_table(place) else {})}


def columns_on(record: Mapping[str, Any]) -> dict[str, Any]:
    """How a table on record was read: columns, their kinds, its label; nothing of other data."""
    if "table" not in record:
        return {}
    table = Table.from_dict(record["table"])
    return {
        "columns": table.names,
        "kinds": {column.name: column.kind for column in table.columns},
        "label": None if table.label is None else table.label.name,
    }


def _prepared(data: ImageData, record: Mapping[str, Any]) -> ImageData:
    preparation = record["preparation"]
    return data if preparation == data.preparation else data.with_preparation(preparation)


def _difference(data: ImageData, record: Mapping[str, Any]) -> str | None:
    if "identity" not in record:
        return None  # of an earlier version: unknown
    return differs_from_record(describe_data(data), record)


def _unknown(record: Mapping[str, Any], run: str) -> str:
    if "identity" in record:
        return ""
    return f"{run} does not say which data it was trained on but by name, {record['name']}"


def _recall_given(record: Mapping[str, Any], *, run: str, given: str) -> Recalled:
    """The same data from elsewhere, or other data, which is said."""
    try:
        same = _load(given, record)
    except UsageError:
        same = None
    why = None if same is None else _difference(same, record)
    if same is not None and why is None and not _unknown(record, run):
        return Recalled(same, given)
    data = _prepared(_read_as_itself(given, record), record)
    note = _unknown(record, run) or (
        f"{given} is not what {run} was trained on ({why or 'it is read otherwise'}): these are "
        "scores of other data"
    )
    return Recalled(data, given, note)


_OWN = 0.9  # least share of different data in those of which an equal one is taken for the same
_LEARNED: WeakKeyDictionary[Any, tuple[tuple[Split, int | None], ...]] = WeakKeyDictionary()
"""What each pair of this process was trained on, and by which seed it was split from the rest."""


def remember(pair: Pair, data: ImageData) -> None:
    """Note that a pair was trained on the training data of a set."""
    key = module_of(pair)
    _LEARNED[key] = (*_LEARNED.get(key, ()), (data.split("train"), data.split_seed))


def check_held_out(pair: Pair, data: ImageData, split: str) -> None:
    """Refuse, or warn of, data that are to be scored as unseen and were trained on.

    Data that were split by another seed than those that the pair was trained on are refused; of
    others that have some in common, equal images perhaps, it is said how many.

    Raises
    ------
    UsageError
        One line that says how many there are, and which seed to give.
    """
    held_out, train = data.split(split), data.split("train")
    for learned, seed in _LEARNED.get(original(pair), ()):
        other_shape = learned.x.shape[1:] != held_out.x.shape[1:]
        if split == "train" or other_shape or learned is train or learned.same_as(train):
            continue
        trained_on, scored = learned.each_checksum(), held_out.each_checksum()
        known = set(trained_on)
        if len(known) < _OWN * len(trained_on):  # in data that repeat an equal one tells nothing
            continue
        count = sum(one in known for one in scored)
        if not count:
            continue
        found = f"{count:,} of the {len(scored):,} {split} data were trained on"
        if None not in (seed, data.split_seed) and seed != data.split_seed:
            raise UsageError(
                f"{found}: these data are split by the seed {data.split_seed}, and those that the "
                f"pair learned from by the seed {seed}: give load_data(…, seed={seed})"
            )
        warnings.warn(f"{found}: their scores are not those of unseen data", stacklevel=4)
