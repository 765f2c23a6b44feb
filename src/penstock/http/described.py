"""Describes to users of the API what is sent as it is, so that no list of fields is written twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs
from pydantic import BaseModel, create_model

if TYPE_CHECKING:
    import msgspec


def model_of(struct: type[msgspec.Struct], name: str, /, **said: Any) -> type[BaseModel]:
    """Return a model with the fields of a struct. All are always there.

    Args:
        struct: what is sent, as msgspec encodes it.
        name: what it is called in the API.
        said: what is said of a field in place of its type, where that holds other structs or explains nothing.
    """
    fields: dict[str, Any] = {one.name: (said.get(one.name, one.type), ...) for one in structs.fields(struct)}
    return create_model(name, __doc__=struct.__doc__, **fields)
