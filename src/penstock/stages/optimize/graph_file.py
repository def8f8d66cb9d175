"""OpenVINO graphs on disk, the same bytes whenever the same graph is written.

OpenVINO notes versions, paths and counters of the process in the XML; what says nothing about the graph is taken out.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

# Facts of the conversion, not of the graph; a tokenizer's own facts stay, because the runtime reads them. `runtime_options` goes too:
# how a graph runs is said in one place, the engine's settings.
NOTES = frozenset({"Runtime_version", "conversion_parameters", "optimum", "nncf", "runtime_options", "OpenVINO Runtime"})
COUNTED = re.compile(r"[A-Za-z]\w*_\d+")


def write_graph(graph: Any, path: Path) -> None:
    """Writes `path` (.xml) and the weights beside it (.bin), nothing rounded."""
    import openvino

    openvino.save_model(graph, str(path), compress_to_fp16=False)
    settle(path)


def settle(path: Path) -> None:
    """Rewrites the XML at `path` without notes of the process that wrote it."""
    tree = ElementTree.parse(path)
    root = tree.getroot()
    root.set("name", path.stem)
    for layer in root.iter("layer"):
        if COUNTED.fullmatch(layer.get("name", "")) and layer.get("type") != "Parameter":
            layer.set("name", f"{layer.get('type')}:{layer.get('id')}")
    for info in root.findall("rt_info"):
        for child in list(info):
            if child.tag in NOTES or child.get("name") in NOTES:
                info.remove(child)
    tree.write(path, encoding="utf-8", xml_declaration=True)
