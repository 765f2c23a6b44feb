"""A server that speaks S3, on a free port: moto's. It forgets everything when it ends.

It looks at no signature, unless it is told to (`only_lets_in`): then it checks each one, and what its key is allowed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from penstock.blobs.objects import S3Place
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

KEY, SECRET, REGION = "tester", "storage-secret", "us-east-1"


class S3Server(ServerProcess):
    """One server, and a client that looks behind the product's back."""

    def __init__(self, folder: Path, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self._port = port
        super().__init__(folder / "moto.log")
        self._buckets = 0
        self.client = self._client("s3", KEY, SECRET)

    def launch(self) -> None:
        self.run([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)])

    def comes_up(self) -> bool:
        return self.answers(self.client.list_buckets, Exception)

    def only_lets_in(self, bucket: str, prefix: str, actions: Sequence[str]) -> tuple[str, str]:
        """From now on, check all signatures; return a key and its secret that may do this, below a prefix."""
        everything = self._new_key("looker", ["s3:*"], ["*"])
        places = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/{prefix}*"]
        key = self._new_key("penstock", actions, places)
        httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
        self.client = self._client("s3", *everything)
        return key

    def _new_key(self, user: str, actions: Sequence[str], places: Sequence[str]) -> tuple[str, str]:
        iam = self._client("iam", KEY, SECRET)
        iam.create_user(UserName=user)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": places}]}
        iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=json.dumps(policy))
        made = iam.create_access_key(UserName=user)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def _client(self, service: str, key: str, secret: str) -> Any:
        import boto3  # type: ignore[import-untyped]  # costs every run of a test half a second otherwise
        from botocore.config import Config  # type: ignore[import-untyped]

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name=REGION,
            config=Config(retries={"max_attempts": 1}, connect_timeout=60, read_timeout=120),
        )

    def place(self, bucket: str, *, prefix: str = "", endpoint: str = "") -> S3Place:
        """What the product keeps files with in a bucket; `endpoint` is of a proxy that is to be between."""
        return S3Place(
            bucket,
            prefix=prefix,
            endpoint=endpoint or self.endpoint,
            region=REGION,
            access_key=KEY,
            secret_key=SECRET,
        )

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
        except self.client.exceptions.ClientError:
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


def running_s3(folder: Path) -> AbstractContextManager[S3Server]:
    """Run a server; what it says is in `folder`."""
    return running(lambda: S3Server(folder, free_port()), "moto")
