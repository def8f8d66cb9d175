"""The artifact suite on a local folder, fsspec's memory, S3 spoken by a moto server, and Cloud Storage spoken by our emulator."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import ArtifactsUnavailable, BadInput
from penstock.store import remote_objects
from penstock.store.artifacts import Artifacts
from penstock.store.local_objects import LocalObjects
from penstock.store.objects import Objects
from penstock.store.remote_objects import RemoteObjects
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.store.artifacts import ArtifactsConformance, fill


class TestLocalFolder(ArtifactsConformance):
    @pytest.fixture
    def artifacts(self, tmp_path: Path) -> Artifacts:
        return Artifacts((tmp_path / "store é").as_uri(), tmp_path / "cache")

    @pytest.fixture
    def objects(self, tmp_path: Path) -> Objects:
        return LocalObjects(tmp_path / "store é")


class TestMemory(ArtifactsConformance):
    @pytest.fixture
    def url(self) -> str:
        return f"memory://{secrets.token_hex(6)}"

    @pytest.fixture
    def artifacts(self, url: str, tmp_path: Path) -> Artifacts:
        return Artifacts(url, tmp_path / "cache")

    @pytest.fixture
    def objects(self, url: str, tmp_path: Path) -> Objects:
        return RemoteObjects(url, tmp_path / "objects")


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    import boto3

    settings = {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    bucket = f"penstock-{secrets.token_hex(6)}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/prefix"


class TestS3(ArtifactsConformance):
    @pytest.fixture
    def artifacts(self, s3_url: str, tmp_path: Path) -> Artifacts:
        return Artifacts(s3_url, tmp_path / "cache")

    @pytest.fixture
    def objects(self, s3_url: str, tmp_path: Path) -> Objects:
        return RemoteObjects(s3_url, tmp_path / "objects")


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VertexAI]:
    with VertexAI(tmp_path_factory.mktemp("google")) as cloud:
        yield cloud


@pytest.fixture
def gs_url(google: VertexAI, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in google.environment.items():
        monkeypatch.setenv(name, value)
    return f"{google.bucket()}/some/prefix"


class TestCloudStorage(ArtifactsConformance):
    @pytest.fixture
    def artifacts(self, gs_url: str, tmp_path: Path) -> Artifacts:
        return Artifacts(gs_url, tmp_path / "cache")

    @pytest.fixture
    def objects(self, gs_url: str, tmp_path: Path) -> Objects:
        return RemoteObjects(gs_url, tmp_path / "objects")


@pytest.mark.usefixtures("s3_url")
def test_a_bucket_that_is_not_there_is_told(tmp_path: Path) -> None:
    source = fill(tmp_path / "out", a="one")
    with pytest.raises(ArtifactsUnavailable, match="does not exist"):
        Artifacts("s3://no-such-bucket-here/x", tmp_path / "cache").commit(source, "model", {})


def test_a_server_that_does_not_answer_is_told(s3_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ArtifactsUnavailable, match=r"127\.0\.0\.1:9"):
        Artifacts(s3_url, tmp_path / "cache").get_note("x")


def test_an_unknown_place_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nonsense"):
        Artifacts("nonsense://x", tmp_path)


@pytest.mark.parametrize("place", ["memory", "s3"])
def test_an_old_blob_that_is_committed_again_counts_as_young(
    place: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue("s3_url") if place == "s3" else f"memory://{secrets.token_hex(6)}"
    monkeypatch.setattr(remote_objects, "_REFRESH_AFTER_S", -3600.0)
    artifacts, objects = Artifacts(url, tmp_path / "cache"), RemoteObjects(url, tmp_path / "objects")
    source = fill(tmp_path / "out", a="one")
    digest = artifacts.commit(source, "model", {}).digest
    before = [stored.modified_at for stored in objects.list("blobs")]
    time.sleep(1.1)  # S3 tells times in whole seconds
    artifacts.commit(source, "model", {})
    after = [stored.modified_at for stored in objects.list("blobs")]
    assert len(after) == 1
    assert after > before
    artifacts.verify(digest)
