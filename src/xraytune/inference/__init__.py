"""A saved model in use: loading, prediction, export, heat maps, outliers."""
