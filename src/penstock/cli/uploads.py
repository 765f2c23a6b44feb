"""`penstock uploads …`: sessions, and what else there is to be done about uploads as a whole."""

from __future__ import annotations

from typing import Final

import typer

from . import gc, sessions, usage

app = sessions.app
app.command("gc")(gc.gc)
app.command("unfinished")(usage.unfinished)
app.command("usage")(usage.usage)

storage_users: Final = typer.Typer(
    help="The same as `uploads`, by the name that oCIS administrators type.", no_args_is_help=True
)
storage_users.add_typer(app, name="uploads")
