"""The lock file: what the images, plugins and steps of an Envfile were when it was written, and holding later commands
to that.

- `document`: the file as a value, and written as text; `reading`: read from it
- `current`: the same of the Envfile as it is now, as far as that is known without getting an image; `written`: that
  Envfile without values from outside
- `titles`: what images are called in it
- `difference`: what of a lock file no longer fits
- `holding`: a lock file put to use by the verbs that make machines
- `making`: a new lock file from the old one
"""
