"""The import graph of the package. The layers between packages are contracts in pyproject.toml."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp


def test_no_two_modules_import_each_other_not_even_in_a_function_or_for_types() -> None:
    graph = grimp.build_graph("omnirecord", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    TopologicalSorter(imports).prepare()  # raises CycleError, with the modules of the circle
