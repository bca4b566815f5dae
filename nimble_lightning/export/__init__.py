"""Models as files for others: each is reloaded and compared before it is kept.

What is here works on modules and folders and knows no run; `runtime/exporting` brings a run's model.
"""
