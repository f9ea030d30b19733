"""Yield statistics: as people have them in, one checked table out.

The table is long: ``adm_id, crop, year`` (harvest year), ``yield_t_ha``, ``area_ha``,
``weight_basis``. `read` takes tidy files, `import_table` the tables of Rosstat, `flag` marks what
is doubtful, `calendar` tells when crops are forecast and harvested.
"""

from lesniva.yields.crops import calendar, crop_code, dekad_end, issue_days, lead_days
from lesniva.yields.rosstat import Imported, import_table
from lesniva.yields.tidy import flag, read, write

__all__ = [
    "Imported",
    "calendar",
    "crop_code",
    "dekad_end",
    "flag",
    "import_table",
    "issue_days",
    "lead_days",
    "read",
    "write",
]
