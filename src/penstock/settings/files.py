"""The files that settings are read from: our own in TOML, and those of the Go services in YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .go_names import KEYS
from .services import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reading import Reading

CONFIG_VARIABLE: Final = "PENSTOCK_CONFIG"
USUAL_FILE: Final = "penstock.toml"
GO_FOLDERS: Final = ("OCIS_CONFIG_DIR", "OC_CONFIG_DIR")
"""Variables that name the folder of the Go services' files; the last one that is set wins."""

_NOTHING: Final = ("", "~", "null", "Null", "NULL")
_REFERENCE: Final = re.compile(r"\$\{\s*(?P<name>\w+)\s*(?:\|(?P<else>[^}]*))?\}")
_ALIKE: Final = 0.7


@dataclass(frozen=True, slots=True)
class Toml:
    """What a TOML file says, not checked yet."""

    path: Path
    keys: Mapping[str, Any]
    """Those for all services."""
    sections: Mapping[Service, Mapping[str, Any]]
    """Those for one service each."""


@dataclass(frozen=True, slots=True)
class GoFile:
    """What the YAML file of a Go service says, not checked yet."""

    path: Path = Path()
    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By the variable that says the same: the key, and its value as it would be written there."""


def read_toml(config: Path | None, environ: Mapping[str, str], folder: Path, reading: Reading) -> Toml | None:
    """Read our own file, if there is one; what is wrong with it goes to `reading`."""
    path, why = next(_candidates(config, environ, folder), (None, ""))
    if path is None:
        return None
    import tomllib

    try:
        with path.open("rb") as file:
            keys = tomllib.load(file)
    except OSError as error:
        reading.problems.append(f"{path} ({why}): cannot be read: {error.strerror}. Name a file that can.")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reading.problems.append(f"{path} ({why}): not TOML: {error}.")
    else:
        sections = {service: _section(keys.pop(service, {}), service, path, reading) for service in Service}
        return Toml(path, keys, sections)
    return None


def _candidates(config: Path | None, environ: Mapping[str, str], folder: Path) -> Iterator[tuple[Path, str]]:
    if config is not None:
        yield folder / config, "--config"
    if named := environ.get(CONFIG_VARIABLE, ""):
        yield folder / named, CONFIG_VARIABLE
    if (folder / USUAL_FILE).exists():
        yield folder / USUAL_FILE, "found here"


def _section(value: object, service: Service, path: Path, reading: Reading) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    reading.problems.append(f"{service} ({path}): must be a table, [{service}], with what is for it alone.")
    return {}


def read_go_file(environ: Mapping[str, str], service: Service, reading: Reading) -> GoFile:
    """Read the file that the Go service of that name would read, if there is one.

    The Go service takes one that is no YAML for an empty one; here it is a problem.
    """
    named = [environ[variable] for variable in GO_FOLDERS if environ.get(variable)]
    path = reading.folder / named[-1] / f"{service}.yaml" if named and service in KEYS else None
    if path is None or not path.exists():
        return GoFile()
    import yaml

    file = GoFile(path)
    try:
        # Everything stays the text that it is written as, so that it is read like a variable of the environment.
        content = yaml.load(path.read_bytes(), Loader=yaml.BaseLoader)  # noqa: S506  makes nothing but text
    except OSError as error:
        reading.problems.append(f"{path}: cannot be read: {error.strerror}. Make it readable, or move it away.")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reading.problems.append(f"{path}: not YAML: {' '.join(str(error).split())}.")
    else:
        _collect(file, content, "", KEYS[service], environ, reading)
    return file


def _collect(
    file: GoFile, node: object, key: str, known: Mapping[str, str], environ: Mapping[str, str], reading: Reading
) -> None:
    """Put the values below a node of the file under the variables that say the same."""
    if isinstance(node, dict):
        for name, below in node.items():
            _collect(file, below, f"{key}.{name}" if key else name, known, environ, reading)
    elif node in _NOTHING:
        return
    elif key not in known:
        close = get_close_matches(key, known, 1, _ALIKE)
        hint = f" Did you mean {close[0]}?" if close else ""
        reading.warnings.append(f"{key} ({file.path}) is not known here and does nothing.{hint}")
    else:
        file.values[known[key]] = (key, _text(node, environ))


def _text(node: object, environ: Mapping[str, str]) -> str:
    """Return a value as it would be in the environment, with `${NAME}` and `${NAME | otherwise}` filled in."""
    text = ",".join(map(str, node)) if isinstance(node, list) else str(node)
    return _REFERENCE.sub(lambda found: environ.get(found["name"]) or (found["else"] or "").strip(), text)
