"""Tables from files: CSV, Parquet and folders of it, read exactly or refused with the row."""
