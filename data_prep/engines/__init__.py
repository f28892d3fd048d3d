"""What computes: DuckDB in this process, or Spark.

One interface, `Engine`; nothing else of the package knows which of the two it has.
May import: `errors`.
"""
