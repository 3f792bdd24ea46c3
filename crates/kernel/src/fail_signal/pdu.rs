//! The message itself: a frame of connectivity fault management with the code of ETH-CSF (ITU-T G.8013/Y.1731 9.21). Pure.

use netloom_model::Mac;

/// The nearest bridge (IEEE 802.1Q table 8-1): no bridge passes on what goes there.
pub(crate) const TO: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
/// The Ethernet type of connectivity fault management.
pub(crate) const TYPE: u16 = 0x8902;
/// ETH-CSF.
pub(super) const CODE: u8 = 52;
/// Where the code is in the frame.
pub(super) const CODE_AT: usize = 15;

/// Loss of signal: what is behind this end is off.
const LOSS: u8 = 0;
/// Defect clear indication: it is on again.
const CLEAR: u8 = 3;
/// It comes again each second.
const EACH_SECOND: u8 = 4;
/// The least that goes over Ethernet, without the check sequence.
const LEAST: usize = 60;

/// The frame with which an interface says that what is behind it is off, or on again.
pub(super) fn write(from: Mac, fails: bool) -> Vec<u8> {
    let kind = if fails { LOSS } else { CLEAR };
    // Level and version 0; the code; kind and period; no more fields, and their end.
    let message = [0, CODE, kind << 3 | EACH_SECOND, 0, 0];
    let mut frame = [&TO[..], &from.0, &TYPE.to_be_bytes(), &message].concat();
    frame.resize(LEAST, 0);
    frame
}

/// Whether what is behind the far end is off, if a frame says anything of it.
pub(super) fn read(frame: &[u8]) -> Option<bool> {
    let is_one = frame.get(..6)? == TO && frame.get(12..14)? == TYPE.to_be_bytes() && *frame.get(CODE_AT)? == CODE;
    let kind = frame.get(16).filter(|_| is_one)? >> 3 & 7;
    // Of the others, which the far end passes on, it has no carrier either.
    Some(kind != CLEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn a_signal_is_a_frame_of_client_signal_fail_to_the_nearest_bridge() {
        for (fails, flags) in [(true, 0x04), (false, 0x1c)] {
            let frame = write(MAC, fails);
            let head = [0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x89, 0x02, 0, 52, flags, 0, 0];
            assert_eq!((frame.len(), &frame[..19]), (60, &head[..]));
            assert!(frame[19..].iter().all(|byte| *byte == 0));
            assert_eq!(read(&frame), Some(fails));
        }
    }

    #[test]
    fn what_is_no_signal_says_nothing() {
        let whole = write(MAC, true);
        for length in 0..17 {
            assert_eq!(read(&whole[..length]), None);
        }
        for at in [0, 5, 12, 13, 15] {
            let mut other = whole.clone();
            other[at] ^= 1;
            assert_eq!(read(&other), None, "byte {at}");
        }
    }
}
