"""A bundle's files, copied to where an organisation's registry keeps bytes of its own: it takes no references to others' storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import UUID

from penstock.core.digests import hex_of
from penstock.platforms.azureml.arm import Arm, busy

if TYPE_CHECKING:
    from penstock.store.artifacts import Artifacts

FOLDER = "bundle"


@dataclass(frozen=True, slots=True)
class Copies:
    """`arm`: of the registry."""

    arm: Arm
    artifacts: Artifacts

    def uri(self, below: str, bundle: str) -> str | None:
        """Address of the folder with all files of the bundle, for the version that will be `below`; None: that version is there already.

        An upload is named by the bundle, so one that was cut off goes on in the same place. Raises ArtifactMissing.
        """
        asked = {"pendingUploadId": str(UUID(hex=hex_of(bundle)[:32])), "pendingUploadType": "TemporaryBlobReference"}
        answer = self.arm.call("POST", f"{below}/startPendingUpload", asked, busy)
        if answer is None:
            return None
        place = answer.body["blobReferenceForConsumption"]
        address, _, signature = str(place["credential"]["sasUri"]).partition("?")
        folder = self.artifacts.materialize(bundle)
        for entry in self.artifacts.manifest(bundle).files:
            self.arm.upload(f"{address}/{FOLDER}/{quote(entry.path)}?{signature}", folder / entry.path)
        return f"{place['blobUri']}/{FOLDER}"
