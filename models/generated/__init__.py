"""Generated records and studies, so that any model can be shown and tested without anybody's records."""
