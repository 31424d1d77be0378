"""Show a site's own people what their data are: counts on public bins, a few images, one page that stays here."""
