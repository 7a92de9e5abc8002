"""The Optuna study, the only record of a search. This file imports nothing: a second search is refused at once."""
