"""The verbs of the API on one kind: create, get, list, replace, patch, delete. All checks of a request are made here."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.testing.emulators.kubernetes import patching
from penstock.testing.emulators.kubernetes.defaults import created, now
from penstock.testing.emulators.kubernetes.faults import Faults
from penstock.testing.emulators.kubernetes.kinds import Kind
from penstock.testing.emulators.kubernetes.objects import Object, Objects
from penstock.testing.emulators.kubernetes.refusals import Refusal, changed, exists, forbidden, gone, invalid, malformed, not_found
from penstock.testing.emulators.kubernetes.rules import check, unrestricted
from penstock.testing.emulators.kubernetes.schemas import Schemas
from penstock.testing.emulators.kubernetes.selecting import fielded, labelled

GRACEFUL = ("Pod",)
Query = Mapping[str, str]


@dataclass(slots=True)
class Verbs:
    objects: Objects
    schemas: Schemas
    faults: Faults
    namespaces: dict[str, Kind] = field(default_factory=dict)
    _said: dict[tuple[Kind, str, str, str], Object] = field(default_factory=dict)  # what a manager applied last

    def create(self, kind: Kind, namespace: str, value: Any, query: Query) -> Object:
        self.schemas.check(kind, value)
        meta = value.get("metadata") or {}
        if not meta.get("name") and meta.get("generateName"):
            value = {**value, "metadata": {**meta, "name": f"{meta['generateName']}{secrets.token_hex(3)[:5]}"}}
            meta = value["metadata"]
        if not meta.get("name"):
            raise invalid(kind, "", "metadata.name", "Required value: name or generateName is required")
        self._in_namespace(kind, namespace, meta)
        with self.objects.lock:
            if self.objects.get(kind, namespace if kind.namespaced else "", meta["name"]) is not None:
                raise exists(kind, meta["name"])
            self._admit(kind, namespace, value)
            made = created(kind, value, namespace)
            check(kind, made, None)
            return made if query.get("dryRun") else self.objects.put(kind, made)

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self.objects.get(kind, namespace, name)
        if found is None:
            raise not_found(kind, name)
        return found

    def page(self, kind: Kind, namespace: str | None, query: Query) -> Object:
        """With `limit` in pages; a page's token is good until changes so far are forgotten."""
        with self.objects.lock:
            rows, version = self.objects.rows(kind, namespace), self.objects.version
        rows = [row for row in rows if selected(row, query)]
        start = ""
        if query.get("continue"):
            try:
                token = json.loads(base64.b64decode(query["continue"]))
                version, start = token["rv"], token["start"]
            except (ValueError, KeyError) as error:
                raise malformed("continue key is not valid") from error
            if version < self.objects.floor:
                raise gone("The provided continue parameter is too old to display a consistent list result.")
        rows = [row for row in rows if _key(row) > start]
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if limit := int(query.get("limit") or 0):
            rest, rows = rows[limit:], rows[:limit]
            if rest:
                token = json.dumps({"rv": version, "start": _key(rows[-1])}).encode()
                meta |= {"continue": base64.b64encode(token).decode(), "remainingItemCount": len(rest)}
        return {"apiVersion": kind.api_version, "kind": f"{kind.name}List", "metadata": meta, "items": rows}

    def replace(self, kind: Kind, namespace: str, name: str, value: Any, *, status: bool = False) -> Object:
        self.schemas.check(kind, value)
        with self.objects.lock:
            before = self.get(kind, namespace, name)
            given = (value.get("metadata") or {}).get("resourceVersion")
            if given not in (None, before["metadata"]["resourceVersion"]):
                raise changed(kind, name)
            return self._write(kind, before, value, status)

    def patch(self, kind: Kind, namespace: str, name: str, patch: Any, how: tuple[str, Query], *, status: bool = False) -> Object:
        """`how`: the content type, and the query."""
        media, query = how
        if not isinstance(patch, dict):
            raise malformed("the patch is no object")
        with self.objects.lock:
            before = self.objects.get(kind, namespace, name)
            if media == patching.APPLY:
                return self._apply(kind, namespace, name, patch, query, before)
            if media != patching.MERGE:
                raise patching.refuse_type(media)
            if before is None:
                raise not_found(kind, name)
            given = (patch.get("metadata") or {}).get("resourceVersion")
            if given not in (None, before["metadata"]["resourceVersion"]):
                raise changed(kind, name)
            value = patching.merged(before, patch)
            self.schemas.check(kind, value)
            return self._write(kind, before, value, status)

    def delete(self, kind: Kind, namespace: str, name: str, options: Mapping[str, Any]) -> Object:
        """What belongs to it goes too by propagation policy; Jobs without one leave their pods behind, as they do."""
        with self.objects.lock:
            value = self.get(kind, namespace, name)
            wanted = (options.get("preconditions") or {}).get("uid")
            if wanted not in (None, value["metadata"]["uid"]):
                raise Refusal(409, "Conflict", f"the UID in the precondition ({wanted}) does not match the UID in record")
            policy = options.get("propagationPolicy") or ("Orphan" if kind.name == "Job" else "Background")
            if policy not in ("Orphan", "Background", "Foreground"):
                raise malformed(f"invalid propagationPolicy {policy!r}")
            if policy == "Orphan":
                self._orphan(value["metadata"]["uid"])
            grace = options.get("gracePeriodSeconds")
            if kind.name in GRACEFUL and (grace is None or int(grace) > 0):
                return self._dying(kind, value, grace)
            if value["metadata"].get("finalizers"):
                return self._dying(kind, value, 0)
            self.objects.remove(kind, namespace, name)
            return value

    def _dying(self, kind: Kind, value: Object, grace: Any) -> Object:
        meta = value["metadata"]
        if "deletionTimestamp" in meta:
            return value
        seconds = int(grace) if grace is not None else int(value["spec"].get("terminationGracePeriodSeconds", 30))
        return self.objects.put(kind, {**value, "metadata": {**meta, "deletionTimestamp": now(), "deletionGracePeriodSeconds": seconds}})

    def _orphan(self, owner: str) -> None:
        for kind, row in self.objects.everything():
            owners = row["metadata"].get("ownerReferences") or []
            left = [o for o in owners if o["uid"] != owner]
            if len(left) < len(owners):
                self.objects.put(kind, {**row, "metadata": {**row["metadata"], "ownerReferences": left}})

    def _apply(self, kind: Kind, namespace: str, name: str, wish: Object, query: Query, before: Object | None) -> Object:
        manager = query.get("fieldManager")
        if not manager:
            raise malformed("PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch")
        if (wish.get("metadata") or {}).get("managedFields"):
            raise malformed("metadata.managedFields must be nil")
        key = (kind, namespace, name, manager)
        if before is None:
            made = self.create(kind, namespace, {**wish, "metadata": {**(wish.get("metadata") or {}), "name": name}}, query)
        else:
            self.schemas.check(kind, wish)
            value = patching.applied(before, wish, self._said.get(key, {}))
            made = self._write(kind, before, value, status=False)
        self._said[key] = wish
        return made

    def _write(self, kind: Kind, before: Object, value: Object, status: bool) -> Object:
        if status:
            made = {**before, "status": value.get("status", {})}
        else:
            own = before["metadata"]
            kept = {k: own[k] for k in ("uid", "creationTimestamp", "generation", "deletionTimestamp") if k in own}
            made = {**value, "metadata": {**value["metadata"], **kept, "name": own["name"]}}
            made.pop("status", None)
            if "status" in before:
                made["status"] = before["status"]
            if made.get("spec") != before.get("spec"):
                made["metadata"]["generation"] = own["generation"] + 1
            check(kind, made, before)
        stored = self.objects.put(kind, made)
        if "deletionTimestamp" in stored["metadata"] and not stored["metadata"].get("finalizers") and kind.name not in GRACEFUL:
            self.objects.remove(kind, stored["metadata"].get("namespace", ""), stored["metadata"]["name"])
        return stored

    def _in_namespace(self, kind: Kind, namespace: str, meta: Mapping[str, Any]) -> None:
        if not kind.namespaced:
            return
        if meta.get("namespace") not in (None, namespace):
            raise malformed(f"the namespace of the provided object does not match the namespace sent on the request ({namespace})")
        if self.objects.get(self.namespaces["Namespace"], "", namespace) is None:
            raise not_found(self.namespaces["Namespace"], namespace)

    def _admit(self, kind: Kind, namespace: str, value: Object) -> None:
        """Quota, and pod security where the namespace enforces it."""
        name = value["metadata"]["name"]
        most = self.faults.quota.get(kind.plural)
        used = len(self.objects.rows(kind, namespace)) if most is not None else 0
        if most is not None and used >= most:
            why = f"exceeded quota: limits, requested: count/{kind.qualified}=1, used: {used}, limited: {most}"
            raise forbidden(kind, name, why)
        if kind.name == "Pod":
            space = self.objects.get(self.namespaces["Namespace"], "", namespace) or {}
            level = (space["metadata"].get("labels") or {}).get("pod-security.kubernetes.io/enforce")
            if level == "restricted" and (wrong := unrestricted(value["spec"])):
                raise forbidden(kind, name, f'violates PodSecurity "restricted:latest": {", ".join(wrong)}')


def selected(row: Object, query: Query) -> bool:
    return labelled(row["metadata"].get("labels") or {}, query.get("labelSelector", "")) and fielded(row, query.get("fieldSelector", ""))


def _key(row: Object) -> str:
    return f"{row['metadata'].get('namespace', '')}/{row['metadata']['name']}"
