"""The command line, `stembridge …`: one small file for each group of commands.

app        the commands together, and what their failures return
console    what is written where: results on stdout, progress and errors on stderr
asking     the options that describe a separation
ranges     `12:20`, `10-30`, `1:05-1:20.5` → seconds
extract    one separation here and now, without an engine
serve      the engine
jobs       submit, jobs, cancel: talk to a running engine
demo       the whole round trip on the bundled excerpt
audacity   gestures in a running Audacity
presets    list, show, check
bench      quality: measurements on the user's own material
models     list, fetch, import, remove
install    the DAW scripts
doctor     is this machine ready?
"""
