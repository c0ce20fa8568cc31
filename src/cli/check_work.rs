//! The section of `check` on the worker's tables: whether they are there and take what it writes.

use super::Loaded;
use super::check::Text;
use super::exit::CommandError;
use super::store::AnyStore;
use crate::store::StoreUrl;
use crate::store::work_shape::{WORK_TABLES, work_faults};

impl Text {
    /// Told where private streams are configured: `work` is what takes their jobs.
    pub(super) fn worker_tables(&mut self, loaded: &Loaded) -> Result<(), CommandError> {
        self.section("worker");
        if let StoreUrl::Sqlite(path) = &loaded.store
            && !path.exists()
        {
            self.line("its tables are made with the file");
            return Ok(());
        }
        let Ok(mut store) = AnyStore::open_to_read(loaded) else {
            self.line("its tables cannot be read, see database");
            return Ok(());
        };
        let mut faults = 0;
        for table in WORK_TABLES {
            let shape = store.table_shape(table)?;
            // The embedded store is migrated by the daemon itself.
            if store.is_embedded() && !shape.exists() {
                continue;
            }
            for fault in work_faults(table, &shape) {
                faults += 1;
                self.problem(fault);
            }
        }
        if faults == 0 {
            self.line(format_args!("{} tables take what `kraite-streams work` writes", WORK_TABLES.len()));
        }
        Ok(())
    }
}
