//! The blocking half of the database work: one look, one batch of writes. Who calls these holds no lock.

use super::gap_book::WaitingGap;
use super::ports::ColumnCipher;
use crate::exchange::binance::listen_key::ListenKey;
use crate::store::user_data_rows::{AccountRow, Ciphertext, ListenKeyRow, NewListenKey};
use crate::store::{ErrorClass, StoreError, UserDataStore, UserDataTables};
use crate::user_data::discovery::{ApiKey, SeenRow, Sighting, WantedAccount};
use crate::user_data::listen_keys::rows::{RowBatch, RowChange};

/// What the database thread has to do next.
#[derive(Debug)]
pub enum Chore {
    /// [`look`], then `Control::handle_look`.
    Look,
    /// [`write()`], then `Control::handle_written`.
    Write(WriteBatch),
}

/// Rows to be written.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    /// Of `binance_listen_keys`.
    pub rows: RowBatch,
    /// Of `stream_gaps`.
    pub gaps: Vec<WaitingGap>,
}

/// What became of a [`WriteBatch`].
#[derive(Debug, Default)]
pub struct Written {
    /// What is not written yet: all of it behind the first fault that is not about one row.
    pub left: WriteBatch,
    /// That fault.
    pub fault: Option<StoreError>,
    /// Accounts whose row was not there to be updated.
    pub gone: Vec<i64>,
    /// Changes that the database will never take, each with why: they are dropped.
    pub refused: Vec<(i64, String)>,
}

/// Everything that discovery needs to know, from the venue with this canonical name.
///
/// # Errors
/// The database cannot be read, or does not know the venue: that is no list of accounts, and changes nothing.
pub fn look(store: &mut UserDataStore, cipher: &dyn ColumnCipher, canonical: &str) -> Result<Sighting, StoreError> {
    let (accounts, rows, exposed) = store.run(|tables| {
        if tables.venue_system(canonical)?.is_none() {
            let sentence = format!("api_systems has no row for {canonical}: no account can belong to it");
            return Err(StoreError::new(ErrorClass::Other, sentence));
        }
        Ok((tables.eligible_accounts(canonical)?, tables.listen_keys()?, tables.exposed_accounts(canonical)?))
    })?;
    let accounts = accounts.into_iter().map(|row| wanted(row, cipher)).collect();
    let key_of = |text: &Ciphertext| cipher.open(text).ok().and_then(|key| ListenKey::new(&key).ok());
    let seen = |row: &ListenKeyRow| SeenRow {
        account: row.account_id,
        key: key_of(&row.listen_key),
        kept_at: row.last_keep_alive_at,
    };
    let rows = rows.iter().map(seen).collect();
    Ok(Sighting { accounts, rows, exposed: exposed.into_iter().collect() })
}

/// Writes a batch: gaps in one transaction, other rows each in its own.
pub fn write(store: &mut UserDataStore, cipher: &dyn ColumnCipher, batch: WriteBatch) -> Written {
    let mut written = Written::default();
    let answer = store.run(|tables| {
        written = write_all(tables, cipher, &batch);
        written.fault.clone().map_or(Ok(()), Err)
    });
    // Where no session could be opened nothing was tried.
    if let Err(error) = answer
        && written.fault.is_none()
    {
        return Written { left: batch, fault: Some(error), ..Written::default() };
    }
    written
}

fn wanted(row: AccountRow, cipher: &dyn ColumnCipher) -> WantedAccount {
    let api_key = cipher.open(&row.api_key_ciphertext).map(|text| ApiKey::new(&text)).map_err(Into::into);
    WantedAccount { id: row.id, api_system_id: row.api_system_id, name: row.name.into(), api_key }
}

fn write_all(tables: &mut dyn UserDataTables, cipher: &dyn ColumnCipher, batch: &WriteBatch) -> Written {
    let mut written = Written::default();
    // Acknowledgements wait for gaps, nothing waits for the other rows.
    if let Err((at, error)) = write_gaps(tables, &batch.gaps, &mut written) {
        written.fault = Some(error);
        written.left = WriteBatch { rows: batch.rows.clone(), gaps: batch.gaps[at..].to_vec() };
        return written;
    }
    for (at, (account, change)) in batch.rows.rows.iter().enumerate() {
        if let Err(error) = write_row(tables, cipher, *account, change, &mut written) {
            if error.class() == ErrorClass::Data {
                written.refused.push((*account, error.to_string()));
                continue;
            }
            written.fault = Some(error);
            written.left.rows = batch.rows.clone();
            written.left.rows.rows.drain(..at);
            return written;
        }
    }
    if !batch.rows.frames.is_empty()
        && let Err(error) = tables.touch_frames(&batch.rows.frames)
    {
        written.fault = Some(error);
        written.left.rows.frames.clone_from(&batch.rows.frames);
    }
    written
}

/// One commit for all of them; where the database refuses one, each on its own. On a fault, the first that is not written.
fn write_gaps(
    tables: &mut dyn UserDataTables,
    gaps: &[WaitingGap],
    written: &mut Written,
) -> Result<(), (usize, StoreError)> {
    if gaps.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = gaps.iter().map(WaitingGap::row).collect();
    match tables.insert_gaps(&rows) {
        Err(error) if error.class() == ErrorClass::Data => {}
        answer => return answer.map_err(|error| (0, error)),
    }
    for (at, gap) in gaps.iter().enumerate() {
        match tables.insert_gap(&rows[at]) {
            Ok(_) => {}
            Err(error) if error.class() == ErrorClass::Data => written.refused.push((gap.account, error.to_string())),
            Err(error) => return Err((at, error)),
        }
    }
    Ok(())
}

/// A change that is interrupted is carried out again from its start: each step may be repeated, but for the count of
/// failures, which may come out too high by what was written of it.
fn write_row(
    tables: &mut dyn UserDataTables,
    cipher: &dyn ColumnCipher,
    account: i64,
    change: &RowChange,
    written: &mut Written,
) -> Result<(), StoreError> {
    if change.delete {
        tables.delete_listen_key(account)?;
    }
    if let Some((key, is_new, at)) = &change.put {
        let Some(listen_key) = sealed(cipher, account, key, written) else { return Ok(()) };
        let new = NewListenKey { account_id: account, listen_key: &listen_key, is_new: *is_new, at: *at };
        tables.put_listen_key(&new)?;
    }
    if let Some((at, rotated)) = &change.kept {
        let rotated = match rotated {
            None => None,
            Some(key) => match sealed(cipher, account, key, written) {
                None => return Ok(()),
                sealed => sealed,
            },
        };
        if !tables.keep_alive_succeeded(account, *at, rotated.as_ref())? {
            written.gone.push(account);
            return Ok(());
        }
    }
    for _ in 0..change.failures {
        if tables.keep_alive_failed(account)?.is_none() {
            break;
        }
    }
    Ok(())
}

fn sealed(cipher: &dyn ColumnCipher, account: i64, key: &ListenKey, written: &mut Written) -> Option<Ciphertext> {
    match cipher.seal(key.expose()) {
        Ok(text) => Some(text),
        Err(why) => {
            written.refused.push((account, why));
            None
        }
    }
}
