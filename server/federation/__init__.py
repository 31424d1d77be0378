"""The federation's folder: configuration, certificates, enrolled sites, testimony."""
