"""Models as files for others: each is reloaded and compared before it is kept.

What is here works on modules and folders and knows no run; `worker/export_best.py` brings a run's model.
"""
