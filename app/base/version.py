"""The version of Vigie: stated here, read by the console, its user agent, the documents and the tests."""

VERSION = "0.2.1"
