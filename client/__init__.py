"""The programs of a site: data, admission, studies, training, ledger, connection and commands."""
