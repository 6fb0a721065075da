"""Make a toy regression data set, the same on every run: ten numbers in, one out.

The target is Friedman #1 (Friedman 1991, Ann. Statist. 19:1-67, doi:10.1214/aos/1176347963), which
depends on the first five inputs alone, with a little noise.

    data/{X,Y}_train.csv, data/{X,Y}_test.csv   inputs and targets
    data/X_pred.csv                             inputs to predict on

A file has a header line of column numbers, and each row starts with its number.
"""

from pathlib import Path

import numpy as np

N_ROWS = {"train": 5000, "test": 200, "pred": 200}
N_INPUTS = 10
NOISE = 0.1  # standard deviation; that of the target is about 5


def friedman1(x):
    """Map inputs (N, 10), uniform on [0, 1), to targets (N,)."""
    x1, x2, x3, x4, x5 = x.T[:5]
    return 10 * np.sin(np.pi * x1 * x2) + 20 * (x3 - 0.5) ** 2 + 10 * x4 + 5 * x5


def write_csv(path, values):
    """Write `values` (N, columns) below a header line and beside an index column."""
    n_rows, n_columns = values.shape
    np.savetxt(
        path,
        np.column_stack([np.arange(n_rows), values]),
        fmt=["%d"] + ["%.9g"] * n_columns,  # nine digits hold a float32 exactly
        delimiter=",",
        header="," + ",".join(map(str, range(n_columns))),
        comments="",
    )


def main():
    out = Path("data")
    out.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for name, n_rows in N_ROWS.items():
        x = rng.random((n_rows, N_INPUTS))
        y = friedman1(x) + rng.normal(scale=NOISE, size=n_rows)
        write_csv(out / f"X_{name}.csv", x)
        if name != "pred":
            write_csv(out / f"Y_{name}.csv", y[:, None])


if __name__ == "__main__":
    main()
