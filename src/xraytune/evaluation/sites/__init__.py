"""Sites that are held out in turn: how trials of several sites are compared, and figures by site."""
