"""A server that speaks S3, on a free port: moto's. It forgets everything when it ends, and looks at no signature."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3  # type: ignore[import-untyped]
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from tests.servers.ports import free_ports
from tests.servers.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, SECRET, REGION = "tester", "storage-secret", "us-east-1"


class S3Server(ServerProcess):
    """One server, and a client that looks behind the product's back."""

    def __init__(self, folder: Path, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._port = port
        super().__init__(folder / "moto.log")
        self._buckets = 0
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name=REGION,
            config=Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=20),
        )

    def launch(self) -> None:
        self.run([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)])

    def comes_up(self) -> bool:
        return self.answers(self.client.list_buckets, Exception)

    def new_bucket(self) -> str:
        """Make a bucket of its own for somebody."""
        self._buckets += 1
        name = f"bucket-{self._buckets}"
        self.client.create_bucket(Bucket=name)
        return name

    def content(self, bucket: str, key: str) -> bytes | None:
        """What an object holds; None: there is none."""
        try:
            body: bytes = self.client.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError:
            return None
        return body

    def keys(self, bucket: str) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def metadata(self, bucket: str, key: str) -> dict[str, str]:
        found: dict[str, str] = self.client.head_object(Bucket=bucket, Key=key)["Metadata"]
        return found

    def unfinished(self, bucket: str) -> list[str]:
        """The keys of uploads in parts that nobody has ended."""
        return [one["Key"] for one in self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """Run a server; what it says is in `folder`."""
    words = ""
    for _ in range(3):  # somebody may take the port between our looking and its listening
        server = S3Server(folder, free_ports(1)[0])
        server.launch()
        try:
            if server.comes_up():
                yield server
                return
            words = server.last_words()
        finally:
            server.stop()
    pytest.fail(f"moto did not come up:\n{words}")
