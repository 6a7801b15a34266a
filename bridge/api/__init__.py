"""The OSC API as one table: it drives codec, checks, docs and tests.

protocol, requests     every message, answers and requests
fields, session_fields the fields of a submit and of a session
forms, times           the forms fields come in; times without losing a sample
telling                jobs and their events as messages
page                   `docs/osc-api.md`, written from all of these
"""
