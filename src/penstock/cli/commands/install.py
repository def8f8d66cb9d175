"""`penstock install kubernetes`: the control process and its gateway into a cluster, or their manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from penstock.cli.output import here

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def install() -> None:
    """Install Penstock's control process and gateway somewhere."""


@app.command()
def kubernetes(
    image: Annotated[str, typer.Option(help="With Penstock in it.")],
    store: Annotated[str, typer.Option(metavar="URL", help="Artifact store that pods reach, such as s3://bucket/penstock.")],
    namespace: Annotated[str, typer.Option(help="Is made, with restricted pod security.")] = "penstock",
    secret: Annotated[str | None, typer.Option(help="Secret whose keys become variables: PENSTOCK_DATABASE, credentials.")] = None,
    disk: Annotated[str, typer.Option(help="For state, records and caches.")] = "10Gi",
    annotate: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the service accounts: cloud identities.")] = None,
    monitor: Annotated[bool, typer.Option("--monitor", help="With a PodMonitor of the gateway, for prometheus-operator.")] = False,
    monitor_label: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the PodMonitor: by which that Prometheus chooses.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the manifests; ask nobody.")] = False,
    kustomize: Annotated[Path | None, typer.Option(help="Write base and overlays into this folder instead.")] = None,
    context: Annotated[str | None, typer.Option(help="Of the kubeconfig.")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="Default: kubectl's.")] = None,
) -> None:
    """Put control process and gateway into a cluster, by server-side apply. Again: what differs is changed.

    They may do in their namespace what jobs and endpoints need, and nothing elsewhere.
    """
    from penstock.core.yaml_text import as_yaml
    from penstock.platforms.kubernetes.install import Wish, objects
    from penstock.platforms.kubernetes.kustomize import tree

    labels = _pairs("--monitor-label", monitor_label) if monitor or monitor_label else None
    wish = Wish(image, store, namespace, secret, disk, _pairs("--annotate", annotate), labels)
    if dry_run and kustomize is None:
        made = objects(wish)
        here().show({"objects": made}, lambda: [as_yaml(*(_in(value, namespace) for value in made)).rstrip()])
    elif kustomize is not None:
        files = tree(wish)
        if not dry_run:
            _write(kustomize, files)
        here().show({"folder": str(kustomize), "files": sorted(files)}, lambda: [f"{kustomize / name}" for name in sorted(files)])
    else:
        _apply(wish, str(kubeconfig) if kubeconfig else None, context)


def _in(value: dict[str, Any], namespace: str) -> dict[str, Any]:
    return value if value["kind"] == "Namespace" else {**value, "metadata": {**value["metadata"], "namespace": namespace}}


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    from penstock.core.errors import BadInput

    found = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadInput(f"{option} {text!r} is no KEY=VALUE")
        found[key] = value
    return found


def _write(folder: Path, files: dict[str, str]) -> None:
    from penstock.core.files import told_plainly

    for name, text in files.items():
        with told_plainly(folder / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def _apply(wish: Any, kubeconfig: str | None, context: str | None) -> None:
    from penstock.platforms.kubernetes.installing import apply

    done = apply(wish, kubeconfig, context)
    here().show({"applied": done}, lambda: [f"applied {name}" for name in done])
