//! The intake while an account has two sockets: the handover says which frames are recorded, and when.
//!
//! Not the steady path: it allocates, for the time of a handover.

use super::{Taken, count};
use crate::domain::Now;
use crate::exchange::binance::event_key::event_key;
use crate::exchange::binance::listen_key::ListenKey;
use crate::exchange::binance::user_data::{Class, Frame, classify};
use crate::user_data::account::{Place, Seat};
use crate::user_data::handover::{Release, Side};
use crate::user_data::lane::Laid;
use crate::user_data::registry::{AccountCell, AccountCounts, Hosted};

/// A message of one of the account's sockets.
pub(super) fn take(
    cell: &AccountCell,
    hosted: &mut Hosted,
    seat: Seat,
    read: &Frame<'_>,
    frame: &[u8],
    at: Now,
) -> (Taken, Laid) {
    let place = hosted.account.place(seat);
    if !read.class.is_recorded() {
        hosted.counts.control += 1;
        match place {
            Place::Current => hosted.account.handle_reply(frame, at),
            Place::Next => hosted.account.handle_next_reply(frame, at),
            Place::Left => {}
        }
        return (Taken::Control, cell.settle(hosted, at));
    }
    match place {
        Place::Current => hosted.account.handle_recorded(read, at),
        Place::Next => hosted.account.handle_next_frame(read, at),
        Place::Left => {}
    }
    // Gaps that the frame ends stand before it.
    let before = cell.lay_gaps(hosted, at);
    let key = matches!(read.class, Class::Event(_)).then(|| event_key(read.event)).flatten();
    let own = || hosted.account.key().map(|key| (key.clone(), key.clone()));
    let keys = hosted.account.handover_keys().or_else(own);
    let mut laying = Laying { cell, keys: keys.as_ref(), laid: before, is_refused: false };
    let Hosted { account, counts, .. } = &mut *hosted;
    let is_taken = account.handle_arrival(seat, frame, read.event, key, at, &mut |release| laying.lay(release, counts));
    if !is_taken {
        laying.lay(Release { side: Side::Old, frame, at: at.wall }, counts);
    }
    let (laid, is_refused) = (laying.laid, laying.is_refused);
    if is_refused {
        hosted.account.handle_unrecorded(at);
    }
    let after = cell.settle(hosted, at);
    let taken = if is_refused { Taken::Refused } else { Taken::Recorded };
    (taken, if after == Laid::Aside { after } else { laid })
}

impl AccountCell {
    /// Puts into the lane the frames that have waited long enough for their twins.
    pub(in crate::user_data) fn lay_held(&self, hosted: &mut Hosted, now: Now) -> Laid {
        let keys = hosted.account.handover_keys();
        let mut laying = Laying { cell: self, keys: keys.as_ref(), laid: Laid::Sent, is_refused: false };
        let Hosted { account, counts, .. } = &mut *hosted;
        account.flush_handover(now, &mut |release| laying.lay(release, counts));
        let (laid, is_refused) = (laying.laid, laying.is_refused);
        if is_refused {
            hosted.account.handle_unrecorded(now);
        }
        laid
    }
}

struct Laying<'c> {
    cell: &'c AccountCell,
    /// The old socket's and the new one's.
    keys: Option<&'c (ListenKey, ListenKey)>,
    laid: Laid,
    is_refused: bool,
}

impl Laying<'_> {
    fn lay(&mut self, release: Release<'_>, counts: &mut AccountCounts) {
        let key = self.keys.map_or(&[][..], |(old, new)| match release.side {
            Side::Old => old.expose().as_bytes(),
            Side::New => new.expose().as_bytes(),
        });
        let (id, exchange) = (self.cell.id(), self.cell.exchange());
        match self.cell.lane().lay(id, |batch| batch.push_frame(id, exchange, release.at, release.frame, key)) {
            Ok(laid) => {
                count(counts, classify(release.frame).class, release.frame.len());
                if laid == Laid::Aside {
                    self.laid = laid;
                }
            }
            Err(_) => {
                counts.refused += 1;
                self.is_refused = true;
            }
        }
    }
}
