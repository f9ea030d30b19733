"""Sentinel-2 look-alikes whose truth is known: a forest, a farmland, and both as archives.

- `simulate_forest` plays a forest in memory; `stack` makes a cube of its scenes.
- `write_forest_archive` and `write_farmland_archive` write what the demo works on.

Inside: `spectra` (what covers reflect), `season` (weather, snow), `landscape` (ground as units),
`events` (disturbances), `forest`, `farmland`, `scenes` (sky, DN), `archive` (COG, STAC), `embedded`
(the two archives).
"""

from lesniva.synthetic.embedded import write_farmland_archive, write_forest_archive
from lesniva.synthetic.events import Cause
from lesniva.synthetic.forest import Cover, Truth, simulate_forest
from lesniva.synthetic.scenes import Scene, stack

__all__ = [
    "Cause",
    "Cover",
    "Scene",
    "Truth",
    "simulate_forest",
    "stack",
    "write_farmland_archive",
    "write_forest_archive",
]
