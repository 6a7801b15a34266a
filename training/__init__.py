"""How the embedded open-vocabulary model was made: data, network, training, evaluation, export.

Never imported at run time. One command per stage: `python -m training bank|train|evaluate|export`.
"""
