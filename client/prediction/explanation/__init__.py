"""Why a released model says what it says of a patient: for the site's own people, at the site only."""
