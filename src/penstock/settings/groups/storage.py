"""Settings of where released files are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..entries import setting
from ..kinds import Choice, Flag, Text
from ..places import File, WebAddress
from ..services import Service

_GROUP = "Storage"
_SERVE = (Service.SERVE,)


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Where files are kept after their release."""

    storage: str = setting(
        Choice(("local", "s3", "azure", "gcs")),
        "local",
        "Where released files are kept: `local` in the data folder; or as"
        " objects of S3 and what speaks like it, Azure Blob Storage or Google Cloud Storage.",
        group=_GROUP,
        services=_SERVE,
    )
    staging: str = setting(
        Choice(("local", "objects")),
        "local",
        "Where files on their way in are kept: `local` in the data folder, or `objects` in the object store that"
        " `storage` names.",
        group=_GROUP,
        services=_SERVE,
    )
    storage_bucket: str = setting(
        Text(),
        "",
        "The bucket of S3 or GCS, or the container of Azure. It must exist.",
        group=_GROUP,
        services=_SERVE,
    )
    storage_prefix: str = setting(
        Text(),
        "",
        "What the names of the objects begin with, such as `penstock`; a slash follows. Empty: nothing.",
        group=_GROUP,
        services=_SERVE,
    )
    storage_endpoint: str | None = setting(
        WebAddress(),
        "",
        "The address of the service. Empty: that of AWS, Azure or Google, or what `AWS_ENDPOINT_URL` says.",
        group=_GROUP,
        services=_SERVE,
    )
    storage_region: str = setting(
        Text(),
        "",
        "The region of S3. Empty: what `AWS_REGION` says, or `us-east-1`.",
        group=_GROUP,
        services=_SERVE,
    )
    storage_access_key: str = setting(
        Text(),
        "",
        "The ID of the access key of S3, or the name of the account of Azure. Empty: what `AWS_ACCESS_KEY_ID` or"
        " `AZURE_STORAGE_ACCOUNT_NAME` says, or the role of the machine.",
        group=_GROUP,
        services=_SERVE,
    )
    storage_secret_key: str = setting(
        Text(),
        "",
        "The secret that belongs to it: the secret access key of S3, or the account key of Azure. Empty: what"
        " `AWS_SECRET_ACCESS_KEY` or `AZURE_STORAGE_ACCOUNT_KEY` says.",
        group=_GROUP,
        secret=True,
        services=_SERVE,
    )
    storage_credentials_file: Path | None = setting(
        File(),
        "",
        "The JSON key of the service account of GCS. Empty: what `GOOGLE_APPLICATION_CREDENTIALS` names, or the role of"
        " the machine.",
        group=_GROUP,
        services=_SERVE,
    )
    storage_path_style: bool = setting(
        Flag(),
        "true",
        "Whether the bucket of S3 stands in the path of addresses. `false`: in the host's name, as some services want.",
        group=_GROUP,
        services=_SERVE,
    )
