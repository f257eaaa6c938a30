//! A segment of a log: header, frames, and what is behind them.

use super::{Place, number};

const HEADER: usize = 4096;
pub(super) const FRAME_HEADER: usize = 48;
const SEAL: u8 = 2;
const CONTINUED: u8 = 3;

/// What a segment is to its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It has a successor. The catalog has all frames up to this one.
    Sealed { flushed: u64 },
    /// It is the last one, and the process was killed.
    Last,
    /// It is the last one, and the process ended in order.
    Ended,
}

/// A frame of any kind.
pub(super) struct Frame {
    pub(super) at: usize,
    pub(super) len: usize,
    pub(super) lsn: u64,
    kind: u8,
}

pub(super) fn places(path: &str, bytes: &[u8], role: Role) -> Vec<Place> {
    assert!(bytes.starts_with(b"MRWALSEG"), "{path}");
    let frames = frames(bytes);
    let data: Vec<&Frame> = frames.iter().filter(|frame| frame.kind == 1).collect();
    let last = data.last().map_or(0, |frame| frame.lsn);
    let is_flushed = matches!(role, Role::Sealed { flushed } if last <= flushed);
    let names = Names::of(role, is_flushed);
    let mut places = Vec::new();
    let mut add = |structure: Option<&'static str>, from: usize, until: usize| {
        if let Some(structure) = structure {
            let file = path.to_owned();
            let bytes = from..until;
            places.push(Place {
                structure,
                file,
                bytes,
            });
        }
    };
    // The fields, zeros, and the checksum.
    for (from, until) in [(0, 68), (68, HEADER - 4), (HEADER - 4, HEADER)] {
        add(names.header, from, until);
    }
    for frame in &frames {
        let end = frame.at + frame.len;
        match frame.kind {
            SEAL => add(names.seal, frame.at, end),
            CONTINUED => add(names.continued, frame.at, end),
            _ if role == Role::Last && frame.lsn == last => {
                add(
                    Some("the last log segment: the last frame"),
                    frame.at,
                    frame.at + FRAME_HEADER,
                );
                add(
                    Some("the last log segment: the last frame"),
                    frame.at + FRAME_HEADER,
                    end,
                );
            }
            _ => {
                add(names.frame_header, frame.at, frame.at + FRAME_HEADER);
                add(names.frame_body, frame.at + FRAME_HEADER, end);
            }
        }
    }
    let end = frames.last().map_or(HEADER, |frame| frame.at + frame.len);
    let was_zeros = number::<4>(bytes, 12) & 1 == 1;
    let behind = match role {
        Role::Last if was_zeros => Some("the last log segment: zeros behind the end"),
        Role::Last => Some("the last log segment: older content behind the end"),
        Role::Sealed { .. } => Some("a sealed log segment: what is behind"),
        Role::Ended => None,
    };
    add(behind, end, bytes.len());
    places
}

/// What the parts are called.
struct Names {
    header: Option<&'static str>,
    frame_header: Option<&'static str>,
    frame_body: Option<&'static str>,
    seal: Option<&'static str>,
    continued: Option<&'static str>,
}

impl Names {
    fn of(role: Role, is_flushed: bool) -> Self {
        match role {
            Role::Sealed { .. } if is_flushed => Self {
                header: Some("a sealed log segment that was flushed: header"),
                frame_header: Some("a sealed log segment that was flushed: header of a frame"),
                frame_body: Some("a sealed log segment that was flushed: body of a frame"),
                seal: Some("a sealed log segment that was flushed: seal"),
                continued: Some("a sealed log segment: \"continued\""),
            },
            Role::Sealed { .. } => Self {
                header: Some("a sealed log segment: header"),
                frame_header: Some("a sealed log segment: header of a frame"),
                frame_body: Some("a sealed log segment: body of a frame"),
                seal: Some("a sealed log segment: seal"),
                continued: Some("a sealed log segment: \"continued\""),
            },
            Role::Last => Self {
                header: Some("the last log segment: header"),
                frame_header: Some("the last log segment: header of a frame before the last"),
                frame_body: Some("the last log segment: body of a frame before the last"),
                seal: None,
                continued: None,
            },
            Role::Ended => Self {
                header: None,
                frame_header: Some("the last log segment after an orderly end: header of a frame"),
                frame_body: Some("the last log segment after an orderly end: body of a frame"),
                seal: Some("the last log segment after an orderly end: seal"),
                continued: None,
            },
        }
    }
}

/// The frames of this segment, in order: older content has another segment number.
pub(super) fn frames(bytes: &[u8]) -> Vec<Frame> {
    let segment = number::<8>(bytes, 24);
    let mut frames = Vec::new();
    let mut at = HEADER;
    while at + FRAME_HEADER <= bytes.len() {
        let is_frame = bytes[at..].starts_with(b"MRWF") && number::<8>(bytes, at + 16) == segment;
        if !is_frame {
            break;
        }
        let len = usize::try_from(number::<4>(bytes, at + 4)).expect("inside of a file");
        frames.push(Frame {
            at,
            len,
            lsn: number::<8>(bytes, at + 8),
            kind: bytes[at + 32],
        });
        at += len;
    }
    frames
}
