"""The emulator answers many at once, each as things were at one moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from penstock.testing.emulators.http import Asked
from penstock.testing.emulators.vertex import VertexAI
from penstock.testing.emulators.vertex.endpoints import Endpoint, shown
from penstock.testing.emulators.vertex.fleet import Deployed
from penstock.testing.emulators.vertex.messages import v1
from penstock.testing.emulators.vertex.wire import Handler


def test_an_answer_is_what_was_there_whatever_changes_before_it_is_sent(cloud: VertexAI) -> None:
    name = f"{cloud.here.parent}/endpoints/e"
    none = v1.DeployedModel(id="1", dedicated_resources=v1.DedicatedResources(min_replica_count=0))
    endpoint = Endpoint(v1.Endpoint(name=name), {"1": Deployed(none, v1.Model(), 0.0, settled=True)})
    cloud.here.of("endpoints")[name] = endpoint
    cloud.here.identities.tokens.add("known")
    handler: Any = Handler(cloud.here).service(SimpleNamespace(method="/google.cloud.aiplatform.v1.EndpointService/GetEndpoint"))
    context = SimpleNamespace(invocation_metadata=lambda: [("authorization", "Bearer known")])
    answer = handler.unary_unary(v1.GetEndpointRequest(name=name), context)
    endpoint.deployed.clear()
    shown(cloud.here, endpoint)  # as the next call does
    sent = handler.response_serializer(answer) if handler.response_serializer else answer
    assert [one.id for one in v1.Endpoint.deserialize(sent).deployed_models] == ["1"]


def test_an_object_that_goes_while_others_are_listed_is_left_out(cloud: VertexAI, monkeypatch: Any) -> None:
    bucket = cloud.bucket().removeprefix("gs://")
    for name in ("a", "b"):
        cloud.storage.answer(Asked("POST", f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}", {}, b"x"))
    look = cloud.storage._shown

    def slow(bucket: str, name: str) -> dict[str, Any]:
        if name == "a":
            cloud.storage.answer(Asked("DELETE", f"/storage/v1/b/{bucket}/o/a", {}, b""))
        return look(bucket, name)

    monkeypatch.setattr(cloud.storage, "_shown", slow)
    listed = cloud.storage.answer(Asked("GET", f"/storage/v1/b/{bucket}/o", {}, b""))
    assert listed is not None
    assert (listed.status, b'"name": "b"' in listed.body, b'"name": "a"' in listed.body) == (200, True, False)
