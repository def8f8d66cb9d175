"""Sizes of the linear modules of an exported decoder, read from its OpenVINO XML without the runtime, so that planning stays light."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from penstock.core.errors import ArtifactCorrupt
from penstock.engines.lora import module_of
from penstock.engines.openvino_graph import GRAPH


def graph_sizes(bundle: Path) -> dict[str, tuple[int, int]]:
    """(in, out) by module. Raises ArtifactCorrupt when the graph does not read."""
    found: dict[str, tuple[int, int]] = {}
    try:
        for _, layer in ElementTree.iterparse(bundle / GRAPH):
            if layer.tag == "layer":
                if (module := module_of(layer.get("name", ""), layer.get("type", ""))) is not None:
                    found.setdefault(module, (_last(layer, "input"), _last(layer, "output")))
                layer.clear()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise ArtifactCorrupt(f"{bundle / GRAPH} does not read as a graph ({error})") from error
    return found


def _last(layer: ElementTree.Element, side: str) -> int:
    """The last dimension of the layer's first port on that side; -1 where it is not fixed."""
    port = layer.find(f"{side}/port")
    sizes = [] if port is None else port.findall("dim")
    return int(sizes[-1].text or -1) if sizes else -1
