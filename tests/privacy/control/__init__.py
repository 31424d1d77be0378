"""Tests of the control plane's messages and orders."""
