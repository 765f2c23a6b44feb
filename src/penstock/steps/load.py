"""Loads Python files with steps, as `penstock serve --steps FILE` names them."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .kit import StepDefinition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import ModuleType


def load_steps(files: Sequence[Path]) -> list[StepDefinition]:
    """Run the files and return the steps that they define, in order.

    Raises:
        ConfigurationError: a file is not there, raises, or defines no step; or two steps have one name.
    """
    found: dict[str, tuple[StepDefinition, Path]] = {}
    for file in files:
        for definition in _steps_of(_module(file), file):
            name = definition.name
            if name in found and found[name][0] is not definition:
                raise ConfigurationError(f"{file}: step {name!r} is defined in {found[name][1]} as well; rename one")
            found[name] = (definition, file)
    return [definition for definition, _ in found.values()]


def _steps_of(module: ModuleType, file: Path) -> list[StepDefinition]:
    steps = {id(value): value for value in vars(module).values() if isinstance(value, StepDefinition)}
    if not steps:
        raise ConfigurationError(
            f'{file}: no step in it. Put @step("name") above a function; see docs/guide/writing-steps.md.'
        )
    return list(steps.values())


def _module(file: Path) -> ModuleType:
    if not file.is_file():
        raise ConfigurationError(f"{file}: there is no such file of steps")
    name = f"penstock_steps_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{file}: not a Python file; its name has to end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # what is defined in it can then be pickled and looked up
    try:
        spec.loader.exec_module(module)
    except ConfigurationError as error:
        raise ConfigurationError(f"{_where(error, file)}: {error}") from error
    except Exception as error:  # a person's own code may raise anything
        del sys.modules[name]
        raise ConfigurationError(f"{_where(error, file)}: {type(error).__name__}: {error}") from error
    return module


def _where(error: Exception, file: Path) -> str:
    """Return the last line of the file itself that was being run."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f"{file}:{error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{file}:{lines[-1]}" if lines else str(file)
