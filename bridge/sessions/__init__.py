"""Session files of DAWs: one module a format, all of them behind the model in `model.py`."""
