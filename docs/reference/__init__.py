"""The reference part of the documentation, drawn from the code. `hook.py` hands the pages to MkDocs."""
