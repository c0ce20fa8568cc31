//! The commented default file.

use std::fmt::Write as _;

use super::keys::{SECTIONS, Shape, keys};
use super::{SETTINGS_FILE, SETTINGS_VARIABLE, Settings};

/// Every key at its default, with unit, range and reason.
pub(super) fn default_file() -> String {
    let defaults = Settings::default();
    let mut out = format!(
        "# Settings of kraite-streams, every key at its default: what you leave out stays as it is here.\n\
         #\n\
         # Read from --settings FILE, else ${SETTINGS_VARIABLE}, else ./{SETTINGS_FILE}; without a file the defaults run.\n\
         # Any key may also be set as KRAITE_<SECTION>_<KEY>, for example KRAITE_STORE_URL, which wins over this file:\n\
         # use it for secrets. An empty variable counts as not set. Relative paths start at the working directory.\n\
         # SIGHUP reads everything again; the log names the keys that wait for a restart.\n"
    );
    for (section, about) in SECTIONS {
        let _ = write!(out, "\n# {about}\n[{section}]\n");
        for key in keys().filter(|key| key.section == section) {
            if !key.about.is_empty() {
                out.push('\n');
            }
            for line in key.about {
                let _ = writeln!(out, "# {line}");
            }
            match &key.shape {
                Shape::Number { unit, range, .. } => {
                    let _ = writeln!(out, "# Unit {unit}, from {} to {}.", range.start(), range.end());
                }
                Shape::Text { expects, .. } if !key.about.is_empty() => {
                    let _ = writeln!(out, "# Write {expects}.");
                }
                Shape::Text { .. } => {}
            }
            let _ = writeln!(out, "{} = {}", key.name, key.shown(&defaults));
        }
    }
    out
}
