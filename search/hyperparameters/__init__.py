"""KerasTuner's hyperparameters and Optuna's distributions: the one package that knows both."""
