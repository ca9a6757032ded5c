"""The lake: the recordings of many recorders in Delta tables on object storage.

`location` opens a lake and tells its state and its failures, `layout` has the schemas of its tables, and its paths.
A lake holds, below its URL:

    omnirecord.json                          the marker: id of the lake, format version
    forgotten/*.json                         hashes of removed sessions
    TABLE/_delta_log/                        the Delta log of each table
    TABLE/day=YYYY-MM-DD/RECORDING_ID.parquet  the rows of one recording, by the UTC day of its start

A recording is in the lake when its row in `recordings` is committed, which happens last. The packages of the extra
`omnirecord[lake]` are imported here only.
"""
