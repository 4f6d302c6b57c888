"""What can be asked for by name: one registry for each kind of thing that can be swapped."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections import UserDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar

from pyro_models.errors import UsageError
from pyro_models.moved import renamed
from pyro_models.suggestions import did_you_mean

__all__ = [
    "Registry",
    "UnknownNameError",
    "check_choice",
    "found_as",
    "modules_of_files",
    "registered_only",
]

T = TypeVar("T")

_WRITTEN = {"class_path", "init_args"}
_PREFIX = "_pyro_models_"  # of the modules that files become

__getattr__ = renamed(
    __name__, {name: f"pyro_models.models:{name}" for name in ("PAIRS", "build", "name_of")}
)


_STRANGER: ContextVar[str] = ContextVar("whose names they are", default="")


@contextmanager
def registered_only(who: str) -> Iterator[None]:
    """Inside, names of Python files and of modules are refused: what is registered is found alone.

    So no code runs that a stranger has named; ``who`` is whose names they are.

    >>> shapes = Registry("shape", {"square": 4})
    >>> with registered_only("the folder"):
    ...     shapes["square"], shapes["os.system"]
    Traceback (most recent call last):
    ...
    pyro_models.errors.UsageError: the folder names the shape 'os.system', and code that it names \
is never run: pass the class itself, or register it
    """
    before = _STRANGER.set(who)
    try:
        yield
    finally:
        _STRANGER.reset(before)


def check_choice(kind: str, given: object, choices: Collection[str], *, hint: str = "") -> None:
    """Refuse what is none of some names, and say which there are.

    >>> check_choice("colour", "red", ["red", "blue"])
    """
    if not isinstance(given, str) or given not in choices:
        raise UnknownNameError(_unknown(kind, given, choices, hint))


def _unknown(kind: str, given: object, choices: Iterable[str], hint: str) -> str:
    more = f", or {hint}" if hint else ""
    names = list(choices)
    said = f"unknown {kind} {given!r}: choose from {', '.join(names)}{more}"
    return said + did_you_mean(given, names)


class UnknownNameError(UsageError, KeyError):
    """Nothing of that name is registered."""

    __str__ = Exception.__str__  # a KeyError's is the repr of its message


class Registry(UserDict[str, T]):
    """Names of one kind of thing, and what they stand for.

    A name may be that of a class in a Python file, ``"mine.py:Factors"``; the file is then read. Or
    it is that of a class that can be imported, ``"package.module.Factors"``. A configuration file
    may hold a thing with its options as ``{class_path: NAME, init_args: {OPTION: VALUE}}``.
    ``kind`` is what the things are, for messages, and ``hint`` what else may be given. ``doors``
    are names whose things are registered by a module that is imported when they are first asked
    for: the path of that module by name.

    >>> shapes = Registry("shape", {"square": 4})
    >>> shapes.register("triangle")(3)
    3
    >>> shapes["triangle"], list(shapes)
    (3, ['square', 'triangle'])
    >>> shapes["circle"]
    Traceback (most recent call last):
    ...
    pyro_models.registry.UnknownNameError: unknown shape 'circle': choose from square, triangle
    """

    def __init__(
        self,
        kind: str,
        things: Mapping[str, T] | None = None,
        *,
        hint: str = "",
        doors: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(things or {})
        self.kind, self.hint, self.doors = kind, hint, dict(doors or {})

    def __iter__(self) -> Iterator[str]:
        return iter({**self.data, **self.doors})

    def __len__(self) -> int:
        return len({**self.data, **self.doors})

    def __contains__(self, name: object) -> bool:
        return name in self.data or name in self.doors

    get = Mapping.get  # of what is in a file, too

    def __missing__(self, name: str) -> T:
        if (who := _STRANGER.get()) and "." in str(name):
            raise UsageError(
                f"{who} names the {self.kind} {name!r}, and code that it names is never run: pass "
                "the class itself, or register it"
            )
        if name in self.doors:
            importlib.import_module(self.doors[name])
            return self.data[name]
        if isinstance(name, str) and ".py:" in name:
            return self._of_file(name)
        if isinstance(name, str) and "." in name:
            return self._of_module(name)
        raise UnknownNameError(_unknown(self.kind, name, self, self.hint))

    def register(self, name: str, thing: T | None = None) -> Any:
        """Let a thing be asked for by name; without the thing, a decorator of it.

        A name that is taken by another thing is refused.
        """

        def keep(it: T) -> T:
            if self.data.get(name, it) is not it:
                article = "an" if self.kind[0] in "aeiou" else "a"
                raise UsageError(
                    f"there is {article} {self.kind} {name!r} already: choose another name"
                )
            self.data[name] = it
            return it

        return keep if thing is None else keep(thing)

    def check(self, name: object) -> None:
        """Refuse a name that is not registered, and say which are."""
        check_choice(self.kind, name, self, hint=self.hint)

    def name_of(self, thing: object) -> str | None:
        """The name that a thing is registered by, or was found by in a file."""
        names = (name for name, it in self.data.items() if it is thing)
        return next(names, None) or found_as(thing)

    def named(self, thing: Any, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
        """What is written as ``class_path`` and ``init_args`` as a name and options; else as given.

        A mapping that is not written so is refused.
        """
        if not isinstance(thing, Mapping):
            return thing, options
        name, own = thing.get("class_path"), thing.get("init_args") or {}
        if not isinstance(name, str) or not isinstance(own, Mapping) or set(thing) - _WRITTEN:
            raise UsageError(
                f"an object is written {{class_path: NAME, init_args: {{OPTION: VALUE}}}}; the "
                f"{self.kind} is {dict(thing)}"
            )
        if "." in name and ".py:" not in name:
            name = self.name_of(self[name]) or name
        return name, {**own, **options}

    def help(self, *, also: str = "") -> str:
        """The names, for the help of an option."""
        *most, last = [*self, *([also] if also else [])]
        return f"{', '.join(most)} or {last}" if most else last

    def _of_module(self, name: str) -> T:
        """A class that can be imported, by the path of its module and its name."""
        path, _, attribute = name.rpartition(".")
        try:
            found: T = getattr(importlib.import_module(path), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            said = _unknown(self.kind, name, self, self.hint)
            raise UnknownNameError(f"{said} ({error})") from error
        return found

    def _of_file(self, name: str) -> T:
        """A class of a Python file, by its path and name."""
        path, _, attribute = name.rpartition(":")
        module = _module_of(Path(path), who=f"{self.kind} {name!r}")
        thing: Any = getattr(module, attribute, None)
        if thing is None:
            names = ", ".join(n for n, v in vars(module).items() if _is_own(v, module))
            names = names or "no class or function"
            raise UnknownNameError(f"{path} has no {attribute!r}; it has {names}")
        if _is_own(thing, module):
            thing.__found_as__ = f"{Path(path).resolve()}:{attribute}"
        return thing


def modules_of_files() -> list[ModuleType]:
    """The Python files that were read for a name, as modules; no other process can import them."""
    return [module for name, module in sys.modules.items() if name.startswith(_PREFIX)]


def found_as(thing: object) -> str | None:
    """``"mine.py:Factors"`` of what a Python file holds; it is not handed on to subclasses."""
    own: str | None = getattr(thing, "__dict__", {}).get("__found_as__")
    module = sys.modules.get(thing.__module__) if isinstance(thing, type) else None
    if own is None and module is not None and module.__name__.startswith(_PREFIX):
        return f"{module.__file__}:{thing.__qualname__}"  # type: ignore[attr-defined]
    return own


def _is_own(value: object, module: ModuleType) -> bool:
    return isinstance(value, type | FunctionType) and value.__module__ == module.__name__


def _module_of(path: Path, *, who: str) -> ModuleType:
    """A Python file as a module, read once as long as it does not change."""
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{who}: {path} cannot be read ({error.strerror or error})") from error
    place = path.resolve()
    digest = hashlib.sha256(str(place).encode() + source).hexdigest()[:12]
    name = f"{_PREFIX}{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise UsageError(f"{who}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    beside = str(place.parent)  # as for a script, what lies beside it can be imported
    sys.path.insert(0, beside)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception | SystemExit) or isinstance(error, UsageError):
            raise
        what = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"{who}: {path} cannot be run ({what})") from error
    finally:
        sys.path.remove(beside)
    return module
