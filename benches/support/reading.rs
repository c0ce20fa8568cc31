//! Bytes of TLS → messages, through the buffer and the reader of the loop.

use kraite_streams::stream::frame::{FrameReader, Incoming, Payload};
use kraite_streams::stream::plain::PlainBuffer;

pub struct Reading {
    plain: PlainBuffer,
    reader: FrameReader,
    /// What TLS hands over at once.
    record: usize,
}

impl Reading {
    pub fn new(message_max: usize, record: usize) -> Self {
        Reading { plain: PlainBuffer::for_messages(message_max), reader: FrameReader::new(message_max), record }
    }

    pub fn messages(&mut self, wire: &[u8], mut each: impl FnMut(Payload<'_>)) {
        for record in wire.chunks(self.record) {
            self.plain.append(record).expect("the buffer holds a message");
            while let Some(incoming) = self.reader.next(&mut self.plain).expect("the frames are sound") {
                let Incoming::Message { payload, .. } = incoming else { panic!("only messages were sent") };
                each(payload);
            }
        }
    }
}
