"""Whether a slice that is measured again has the numbers that were recorded.

On one machine it has them to the digit. Another processor rounds otherwise, training carries that on, and
what is trained differs as with another seed; what is not trained does not. So two things are asked of each
column of numbers: of the untrained network that they agree to some digits, and of all rows that they are
typically closer together than the column is wide.
"""

from collections.abc import Mapping

import pandas as pd

UNTRAINED = 1e-3
"""Largest difference of numbers of the untrained network, as a share of the column's standard deviation."""
TRAINED = 0.5
"""Median difference of all numbers, as a share of the column's standard deviation."""
_NOT_COMPARED = ("seconds", "low", "high", "_sample_")
"""Parts of the names of columns that are times, or ends of intervals."""
_ABOUT = ("ran", "rules", "costs")
"""Tables that say when and by which rules, and what it took."""


def difference_table(
    recorded: Mapping[str, pd.DataFrame], measured: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Compare the numbers of two measurements of one slice.

    Parameters
    ----------
    recorded, measured
        Tables by name; those that are in both are compared.

    Returns
    -------
    pandas.DataFrame
        One row per column of numbers: `table`, `column`, number of `rows`; the largest difference in rows of
        the `untrained` network (NaN without any) and the `typical` (median) difference in all, both as
        shares of the recorded column's standard deviation; `agrees`.

    Raises
    ------
    ValueError
        If a table has other rows than it had: in another order, or of other texts, seeds or epochs.
    """
    rows = []
    for name in sorted((recorded.keys() & measured.keys()) - set(_ABOUT)):
        one, other = recorded[name], measured[name]
        keys = [str(each) for each in one if one[each].dtype.kind not in "iufb" or each in ("seed", "epoch")]
        if len(one) != len(other) or not one[keys].astype(str).equals(other[keys].astype(str)):
            raise ValueError(
                f"table {name} needs the {len(one)} rows that were recorded, by {', '.join(keys)}, got "
                f"{len(other)} or others; record it again: the code measures something else now"
            )
        untrained = one["epoch"] == 0 if "epoch" in one else pd.Series(False, one.index)
        for column in one.columns.drop(keys):
            if any(part in column for part in _NOT_COMPARED):
                continue
            before, now = (table[column].astype(float) for table in (one, other))
            apart = (before - now).abs() / (before.std() or 1.0)
            row = {"untrained": apart[untrained].max(), "typical": apart.median()}
            agrees = not (row["untrained"] > UNTRAINED or row["typical"] > TRAINED)
            rows.append({"table": name, "column": column, "rows": len(one), **row, "agrees": agrees})
    return pd.DataFrame(rows)
