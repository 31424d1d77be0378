"""One page on a released model, for the clinicians of a site."""
