"""Objects below a URL of S3: which there are, by pages; and taking them away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.platforms.sagemaker.aws import Aws

AT_ONCE = 1000  # objects that one call removes


@dataclass(frozen=True, slots=True)
class Folder:
    """`url`: `s3://bucket/prefix`, without a slash at its end. Names are keys of the bucket."""

    aws: Aws
    url: str

    @property
    def bucket(self) -> str:
        return self.url.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """Ends with a slash."""
        return f"{self.url.removeprefix('s3://').partition('/')[2]}/"

    def folders(self, within: str = "") -> list[str]:
        """Prefixes of the next level below `within`, each ending with a slash."""
        asked: dict[str, Any] = {"Bucket": self.bucket, "Prefix": f"{self.prefix}{within}", "Delimiter": "/"}
        found: list[str] = []
        while True:
            answer = self.aws.call("s3:ListObjectsV2", **asked) or {}
            found += [row["Prefix"] for row in answer.get("CommonPrefixes", ())]
            if not answer.get("NextContinuationToken"):
                return found
            asked["ContinuationToken"] = answer["NextContinuationToken"]

    def rows(self, prefix: str, after: str = "") -> Iterator[Mapping[str, Any]]:
        """Objects whose names begin with `prefix` and come behind `after`, in their order."""
        while True:
            more: dict[str, Any] = {"StartAfter": after} if after else {}
            rows = (self.aws.call("s3:ListObjectsV2", Bucket=self.bucket, Prefix=prefix, **more) or {}).get("Contents", ())
            yield from rows
            if not rows:
                return
            after = rows[-1]["Key"]

    def clear(self) -> None:
        """Takes everything away. Idempotent."""
        names = [{"Key": row["Key"]} for row in self.rows(self.prefix)]
        for at in range(0, len(names), AT_ONCE):
            self.aws.call("s3:DeleteObjects", Bucket=self.bucket, Delete={"Objects": names[at : at + AT_ONCE], "Quiet": True})
