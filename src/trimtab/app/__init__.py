"""app: the only room that prints and reads argv, locale and environment."""
