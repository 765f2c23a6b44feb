"""What `penstock doctor` looks at: a function per thing, each of which says what it found and what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .. import __version__
from ..errors import NotFound, PenstockError
from ..health import Check
from ..sizes import readable_size
from .options import server_of, settings_from

if TYPE_CHECKING:
    from ..settings import Settings
    from .api import Api

_ENOUGH_BYTES: Final = 1024**3
_PATIENCE_SECONDS: Final = 30.0


def examine(config: Path | None, url: str | None) -> list[Check]:
    """Look at everything that can be looked at from here."""
    from ..settings import WrongSettings
    from .desk import speaks_of_services

    try:
        if not url and speaks_of_services(config):
            services = settings_from(config, "postprocessing")
            return [*_settings(services), *asyncio.run(_services(services))]
        settings = settings_from(config, url=url)
    except WrongSettings as error:
        return [Check("settings", ok=False, detail=problem, hint="Correct it.") for problem in error.problems]
    return [*_settings(settings), *_server_or_machine(settings, remote=bool(url))]


def _settings(settings: Settings) -> list[Check]:
    changed = [name for name, origin in settings.origins.items() if str(origin) != "default"]
    valid = Check("settings", ok=True, detail=f"All are valid. Not at their default: {', '.join(changed) or 'none'}.")
    return [
        valid,
        *(
            Check("settings", ok=False, detail=told, hint="Change it while there is time.")
            for told in settings.warnings
        ),
    ]


def _server_or_machine(settings: Settings, *, remote: bool) -> list[Check]:
    """Ask the running server; without one, look at what it would need here."""
    from .api import Api, Refused, ServerAway

    server = server_of(settings)
    with Api(server, timeout_seconds=_PATIENCE_SECONDS) as api:
        try:
            return _from_server(api)
        except ServerAway as error:
            if remote:
                return [Check("server", ok=False, detail=str(error), hint="Start it there, or correct the address.")]
        except (Refused, NotFound) as error:
            hint = "Stop what listens there, or choose another http_addr."
            return [Check("server", ok=False, detail=str(error), hint=hint)]
    return _without_server(settings)


def _from_server(api: Api) -> list[Check]:
    version = str(api.get("/info")["version"])
    same = version == __version__
    found = f"Version {version} answers at {api.url}" + ("." if same else f"; this command is version {__version__}.")
    server = Check("server", ok=same, detail=found, hint="" if same else "Restart the server, or use its own command.")
    return [server, *(_check(answer) for answer in api.get("/doctor")["checks"])]


def _check(answer: dict[str, Any]) -> Check:
    return Check(answer["name"], ok=answer["ok"], detail=answer["detail"], hint=answer["hint"])


def _without_server(settings: Settings) -> list[Check]:
    steps = _steps(settings)
    looked = [_data_dir(settings), _address(settings), steps]
    return [*looked, *asyncio.run(_scanner(settings))] if steps.ok else looked


async def _services(settings: Settings) -> list[Check]:
    """Look at what a coordinator by itself needs: its store and its bus, and somebody who answers each step."""
    from ..app.desk import open_requests, open_set_aside
    from ..app.policy import policy_of
    from ..app.watch import check_set_aside

    steps = policy_of(settings).every_step
    try:
        async with open_requests(settings) as requests:
            silent = await requests.never_answered(steps)
        async with open_set_aside(settings) as kept:
            aside = await check_set_aside(kept)
    except PenstockError as error:
        return [Check("servers", ok=False, detail=str(error), hint="Start it, or correct where it is.")]
    looked = [Check("servers", ok=True, detail="The bus and the store answer."), aside]
    if not silent:
        return [
            *looked,
            Check("steps", ok=True, detail=f"Somebody has answered each of: {', '.join(steps) or 'none'}."),
        ]
    hint = "Uploads wait there until a service of that very name answers. Look at the spelling, and whether it runs."
    return [*looked, Check("steps", ok=False, detail=f"Nobody has ever answered {', '.join(silent)}.", hint=hint)]


def _data_dir(settings: Settings) -> Check:
    folder = settings.data_dir
    existing = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        detail = f"{existing} is no folder that we may write in."
        return Check("data_dir", ok=False, detail=detail, hint="Choose another data_dir, or have its owner changed.")
    free = shutil.disk_usage(existing).free
    enough = free >= _ENOUGH_BYTES
    hint = "" if enough else "Free some space: uploads are refused when it is used up."
    return Check("data_dir", ok=enough, detail=f"{readable_size(free)} free for {folder}.", hint=hint)


def _address(settings: Settings) -> Check:
    from ..server.embed import check_free

    host, port = settings.http_addr
    try:
        check_free(host, port)
    except PenstockError as error:
        return Check("http_addr", ok=False, detail=str(error), hint="Stop what uses it, or choose another http_addr.")
    return Check("http_addr", ok=True, detail=f"{settings.http_addr} is free: no server runs there.")


def _steps(settings: Settings) -> Check:
    from ..app.policy import check_handlers, policy_of
    from ..steps.load import load_steps

    try:
        check_handlers(settings, load_steps(settings.step_files))
        policy = policy_of(settings)
    except PenstockError as error:
        hint = "Correct `steps` or `step_rules`, or name the file that defines the step in `step_files`."
        return Check("steps", ok=False, detail=str(error), hint=hint)
    rules = "".join(f" Rule {number}: {rule.explain()}." for number, rule in enumerate(policy.rules, start=1))
    detail = f"Somebody answers each of: {', '.join(policy.every_step) or 'none'}.{rules}"
    return Check("steps", ok=True, detail=detail)


async def _scanner(settings: Settings) -> list[Check]:
    from ..antivirus.base import SupportsStates
    from ..app.policy import step_rules_of
    from ..app.scanner import scanner_of
    from ..app.scanning import places_of
    from ..clock import SystemClock

    lists = [settings.steps, *(rule.steps for rule in step_rules_of(settings))]
    if not any("virusscan" in steps for steps in lists):
        return [Check("scanner", ok=True, detail="Not used: `virusscan` is not among the steps.")]
    try:
        async with scanner_of(settings, SystemClock()) as scanner:
            await scanner.self_test()
            states = scanner.states() if isinstance(scanner, SupportsStates) else ()
    except PenstockError as error:
        hint = "Until it works, uploads are held back; then they go on by themselves."
        return [Check("scanner", ok=False, detail=str(error), hint=hint)]
    detail = f"{' and '.join(settings.antivirus_scanner)}: the EICAR test file is found."
    return [Check("scanner", ok=True, detail=detail), *(check for state in states for check in places_of(state))]
