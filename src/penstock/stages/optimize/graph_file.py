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
COUNTED = re.compile(r"[A-Za-z]\w*_\d+(\.\d+)?")


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
    _rename_counted(root)
    for info in root.findall("rt_info"):
        for child in list(info):
            if child.tag in NOTES or child.get("name") in NOTES:
                info.remove(child)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _rename_counted(root: ElementTree.Element) -> None:
    """Layers that OpenVINO named by a counter of the process are named by their type and place, also where ports repeat the name."""
    fresh = {}
    for layer in root.iter("layer"):
        name, kind = layer.get("name", ""), layer.get("type", "")
        if COUNTED.fullmatch(name) and (kind != "Parameter" or name.startswith("Parameter_")):
            fresh[name] = f"{kind}:{layer.get('id')}"
            layer.set("name", fresh[name])
    for element in root.iter():
        for attribute in ("names", "output_names"):
            if (names := element.get(attribute)) is not None:
                element.set(attribute, ",".join(sorted(fresh.get(name, name) for name in names.split(","))))
