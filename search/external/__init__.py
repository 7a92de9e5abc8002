"""A saved model on labelled images of elsewhere: what is left out, the figures, the verdict, the report."""
