"""Predictions as files: made whole or window by window, and written as arrays, tables and tracks."""

FORMATS = {
    "npy": "helixband.outputs.arrays:Npy",
    "tsv": "helixband.outputs.table:Table",
    "h5": "helixband.outputs.arrays:H5",
    "bw": "helixband.outputs.bigwig:BigWig",
}
"""The class of each format by its name on the command line; `formats.Format` says what such a class has.

They are for predictions of windows of sequences. Any other predictions are an array and a table: see `whole`.
"""
